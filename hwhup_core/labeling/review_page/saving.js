// Sends changes to the server, one after the other, until each is on the disk.

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 5000;

export class Saver {
  // content(index): what to send now. settled(index, frame): it is on the disk, and no newer change waits.
  // refused(index, message): the server will not have it. told(state): show {waiting, error}.
  constructor({ content, settled, refused, told }) {
    Object.assign(this, { content, settled, refused, told });
    this.waiting = new Set();
    this.busy = false;
    this.error = '';
  }

  has(index) {
    return this.waiting.has(index);
  }

  put(index) {
    this.waiting.add(index);
    this.tell();
    if (!this.busy) this.run();
  }

  tell() {
    this.told({ waiting: this.waiting.size + (this.busy ? 1 : 0), error: this.error });
  }

  async run() {
    this.busy = true;
    let wait = FIRST_WAIT_MS;
    while (this.waiting.size) {
      const index = this.waiting.values().next().value;
      this.waiting.delete(index); // A change made during the request puts it back.
      try {
        const { status, answer } = await send(index, this.content(index));
        if (status >= 500) throw new Error(answer.error);
        this.error = '';
        wait = FIRST_WAIT_MS;
        if (status === 200) this.settled(index, answer, this.waiting.has(index));
        else {
          this.waiting.delete(index);
          await this.refused(index, answer.error);
        }
      } catch (problem) {
        this.error = problem.message;
        this.waiting.add(index);
        this.tell();
        await new Promise((done) => setTimeout(done, wait));
        wait = Math.min(2 * wait, LONGEST_WAIT_MS);
      }
    }
    this.busy = false;
    this.tell();
  }
}

async function send(index, content) {
  const reply = await fetch(`/api/frames/${index}`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(content),
  });
  return { status: reply.status, answer: await reply.json() };
}
