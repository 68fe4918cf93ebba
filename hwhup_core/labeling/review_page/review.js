// The page: which frame is shown, what a key does, and what was done to labels.

import { Panes } from './panes.js';
import { Saver } from './saving.js';

const $ = (id) => document.getElementById(id);
const STATUSES = ['accepted', 'rejected', 'unreviewed', 'none'];
const STATUS_WORDS = { none: 'no label' };

let recording = null; // As /api/recording gives it.
let position = 0; // In recording.order.
let frame = null; // What is shown.
let selected = '';
let asked = 0; // Counts requests for frames: only the answer to the last one is shown.
const unsaved = new Map(); // index -> frame with changes that are not on the disk yet
const undone = []; // {index, label} before each change

const panes = new Panes($('panes'), {
  selected: () => selected,
  select,
  moving(name, x, y) {
    Object.assign(jointOf(name), { x, y });
    draw();
  },
  moved(name, [x, y]) {
    const before = copyOf(frame.label);
    Object.assign(before.joints.find((joint) => joint.name === name), { x, y });
    vouch(jointOf(name));
    changed(before);
  },
  canPlace: () => Boolean(selected) && !jointOf(selected).labelled,
  placed(x, y) {
    change(() => vouch(jointOf(selected), { x, y, labelled: true, visible: true }));
  },
});

const saver = new Saver({
  content: (index) => contentOf(unsaved.get(index).label),
  settled(index, answer, changedSince) {
    setStatus(index, answer.frame_status);
    if (changedSince) {
      unsaved.get(index).label.revision = answer.label.revision;
      return;
    }
    unsaved.delete(index);
    if (frame.index === index) show(answer);
  },
  async refused(index, message) {
    unsaved.delete(index);
    alarm(`Not saved: ${message}`);
    if (frame.index === index) await load(index);
  },
  told({ waiting, error }) {
    $('saved').textContent = error ? `not saved, trying again (${waiting})` : waiting ? 'saving' : 'saved';
    $('saved').className = error ? 'bad' : waiting ? 'busy' : '';
    if (error) alarm(`Not saved, trying again: ${error}. Leave this page open.`);
    else if ($('alarm').textContent.startsWith('Not saved, trying')) alarm('');
  },
});

// --------------------------------------------------------------------------------------------------------------- labels

const copyOf = (value) => structuredClone(value);
const jointOf = (name) => frame.label.joints.find((joint) => joint.name === name);
const round = (value) => Math.round(value * 100) / 100;

// A person vouches for this joint now.
function vouch(joint, values = {}) {
  Object.assign(joint, { doubtful: false, ...values });
  Object.assign(joint, { x: round(joint.x), y: round(joint.y) });
}

function contentOf(label) {
  const labelled = label.joints.filter((joint) => joint.labelled);
  const joints = Object.fromEntries(labelled.map(({ name, x, y, visible }) => [name, { x, y, visible }]));
  return { joints, status: label.status, note: label.note, revision: label.revision };
}

function change(edit) {
  const before = copyOf(frame.label);
  edit(frame.label);
  changed(before);
}

function changed(before) {
  undone.push({ index: frame.index, label: before });
  save();
}

function save() {
  unsaved.set(frame.index, frame);
  saver.put(frame.index);
  draw();
}

async function undo() {
  const last = undone.pop();
  if (!last) return;
  if (frame.index !== last.index) await go(recording.order.indexOf(last.index));
  if (frame.index !== last.index) return;
  frame.label = { ...last.label, revision: frame.label.revision };
  save();
}

function setLabelStatus(status) {
  change((label) => {
    label.status = status;
    if (status === 'accepted') for (const joint of label.joints) joint.doubtful = false;
  });
}

function toggleVisible() {
  const joint = selected && jointOf(selected);
  if (joint?.labelled) change(() => vouch(joint, { visible: !joint.visible }));
}

function removeJoint() {
  const joint = selected && jointOf(selected);
  if (joint?.labelled) change(() => vouch(joint, { labelled: false, visible: false, x: 0, y: 0 }));
}

function nudge(dx, dy) {
  const joint = selected && jointOf(selected);
  const inside = (value, most) => Math.min(Math.max(value, 0), most);
  if (!joint?.labelled) return;
  change(() => vouch(joint, { x: inside(joint.x + dx, frame.size[0]), y: inside(joint.y + dy, frame.size[1]) }));
}

const isEmpty = () => frame.label.joints.every((joint) => !joint.labelled);

function startFromTemplate() {
  if (!isEmpty()) return;
  change((label) => {
    for (const joint of label.joints) {
      const place = frame.template[joint.name];
      if (place) vouch(joint, { labelled: true, visible: true, x: place[0], y: place[1] });
    }
  });
}

// ----------------------------------------------------------------------------------------------------------- navigation

async function load(index) {
  const mine = ++asked;
  if (unsaved.has(index)) return show(unsaved.get(index));
  try {
    const reply = await fetch(`/api/frames/${index}`);
    const answer = await reply.json();
    if (mine !== asked) return;
    if (!reply.ok) throw new Error(answer.error);
    setStatus(index, answer.frame_status);
    if (!saver.error) $('alarm').dataset.kind === 'load' && alarm('');
    show(unsaved.get(index) ?? answer);
  } catch (problem) {
    if (mine === asked) alarm(`Frame ${index} cannot be shown: ${problem.message}`, 'load');
  }
}

async function go(to) {
  position = Math.min(Math.max(to, 0), recording.order.length - 1);
  history.replaceState(null, '', `#${recording.order[position]}`);
  await load(recording.order[position]);
}

function select(name) {
  selected = name;
  draw();
}

function selectNext(step) {
  const names = frame.label.joints.map((joint) => joint.name);
  const now = names.indexOf(selected);
  select(names[now < 0 ? (step > 0 ? 0 : names.length - 1) : (now + step + names.length) % names.length]);
}

// -------------------------------------------------------------------------------------------------------------- display

function show(next) {
  frame = next;
  if (!frame.label.joints.some((joint) => joint.name === selected)) selected = '';
  panes.show(frame);
  draw();
}

function setStatus(index, status) {
  recording.frames[index].status = status;
}

function draw() {
  panes.draw();
  const { label } = frame;
  const shown = label.status === 'unreviewed' && isEmpty() ? 'none' : label.status;
  $('place').textContent =
    `${position + 1} of ${recording.order.length}${recording.ranked ? ' by rank' : ''} · frame ${frame.unit} · ` +
    `${frame.time_s.toFixed(1)} s`;
  $('status').textContent = STATUS_WORDS[shown] ?? `${shown}${label.source ? ` · ${label.source}` : ''}`;
  $('status').className = `chip ${shown}`;
  $('template').hidden = !isEmpty();
  $('message').hidden = !isEmpty() && label.status !== 'rejected';
  $('message').textContent = label.status === 'rejected' ? 'rejected' : 'no joints are labelled here';
  $('message').className = label.status;
  document.body.dataset.frame = frame.index;
  document.body.dataset.status = label.status;
  if (document.activeElement !== $('note')) $('note').value = label.note;
  drawJoints();
  drawCounts();
}

function drawJoints() {
  $('joints').replaceChildren(...frame.label.joints.map((joint) => {
    const item = document.createElement('li');
    const state = !joint.labelled ? 'missing' : joint.visible ? 'seen' : 'hidden';
    Object.assign(item.dataset, { joint: joint.name, state, doubtful: joint.doubtful, x: joint.x, y: joint.y });
    item.className = joint.name === selected ? 'chosen' : '';
    item.innerHTML = '<svg viewBox="0 0 14 14"><circle cx="7" cy="7" r="4.5"/></svg><span></span><small></small>';
    const side = joint.name.split('_')[0];
    const kinds = ['dot', state, ['left', 'right'].includes(side) ? side : 'middle', joint.doubtful ? 'doubtful' : ''];
    item.querySelector('circle').setAttribute('class', kinds.join(' '));
    item.querySelector('span').textContent = joint.name.replaceAll('_', ' ');
    item.querySelector('small').textContent = { missing: 'no label', hidden: 'occluded', seen: '' }[state];
    item.addEventListener('click', () => select(joint.name));
    return item;
  }));
  $('joints').querySelector('.chosen')?.scrollIntoView({ block: 'nearest' });
}

function drawCounts() {
  const counts = Object.fromEntries(STATUSES.map((status) => [status, 0]));
  recording.frames.forEach((each, index) => (counts[statusOf(index, each)] += 1));
  $('counts').replaceChildren(...STATUSES.map((status) => {
    const item = document.createElement('span');
    item.className = `count ${status}`;
    item.dataset.count = status;
    item.textContent = `${counts[status]} ${STATUS_WORDS[status] ?? status}`;
    return item;
  }));
  const cells = $('strip').children;
  recording.order.forEach((index, place) => {
    const status = statusOf(index, recording.frames[index]);
    const wanted = `${status}${place === position ? ' here' : ''}`;
    if (cells[place].className !== wanted) cells[place].className = wanted;
  });
}

function statusOf(index, known) {
  const label = frame.index === index ? frame.label : unsaved.get(index)?.label;
  if (!label) return known.status;
  const empty = label.joints.every((joint) => !joint.labelled);
  return label.status === 'unreviewed' && empty ? 'none' : label.status;
}

function alarm(text, kind = '') {
  $('alarm').textContent = text;
  $('alarm').hidden = !text;
  $('alarm').dataset.kind = kind;
}

// --------------------------------------------------------------------------------------------------------------- inputs

function setOverlay(on) {
  panes.overlay = on;
  $('layout').textContent = on ? 'side by side' : 'overlay';
  $('blend').hidden = !on;
  panes.pictures();
  panes.draw();
}

const KEYS = {
  ArrowLeft: () => go(position - 1),
  ArrowRight: () => go(position + 1),
  a: () => setLabelStatus('accepted'),
  r: () => setLabelStatus('rejected'),
  ' ': () => {
    setLabelStatus('accepted');
    go(position + 1);
  },
  u: undo,
  v: toggleVisible,
  n: () => selectNext(1),
  p: () => selectNext(-1),
  Tab: () => selectNext(1),
  'Shift+Tab': () => selectNext(-1),
  Delete: removeJoint,
  Backspace: removeJoint,
  t: startFromTemplate,
  o: () => setOverlay(!panes.overlay),
  m: () => {
    panes.showMask = !panes.showMask;
    panes.pictures();
  },
  0: () => {
    panes.whole();
    panes.draw();
  },
  '?': () => $('help').showModal(),
  'Shift+ArrowLeft': () => nudge(-1, 0),
  'Shift+ArrowRight': () => nudge(1, 0),
  'Shift+ArrowUp': () => nudge(0, -1),
  'Shift+ArrowDown': () => nudge(0, 1),
};

function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || !frame || $('help').open) return;
  if (event.target === $('note')) {
    if (event.key === 'Enter' || event.key === 'Escape') $('note').blur();
    return;
  }
  const key = event.shiftKey && event.key.length > 1 ? `Shift+${event.key}` : event.key;
  const action = KEYS[key] ?? (event.key.length === 1 ? KEYS[event.key.toLowerCase()] : undefined);
  if (!action) return;
  event.preventDefault();
  action();
}

function listen() {
  document.addEventListener('keydown', press);
  for (const [id, key] of Object.entries({ accept: 'a', reject: 'r', undo: 'u', template: 't', layout: 'o' })) {
    $(id).addEventListener('click', (event) => {
      event.currentTarget.blur();
      KEYS[key]();
    });
  }
  $('opacity').addEventListener('input', (event) => {
    panes.opacity = event.target.value / 100;
    panes.pictures();
  });
  $('note').addEventListener('change', (event) => {
    if (event.target.value !== frame.label.note) change((label) => (label.note = event.target.value));
  });
  $('strip').addEventListener('click', (event) => {
    const place = [...$('strip').children].indexOf(event.target);
    if (place >= 0) go(place);
  });
  window.addEventListener('beforeunload', (event) => {
    if (unsaved.size) event.preventDefault();
  });
}

async function start() {
  recording = await (await fetch('/api/recording')).json();
  $('name').textContent = recording.name;
  document.title = `Review ${recording.name}`;
  $('strip').replaceChildren(...recording.order.map(() => document.createElement('i')));
  const wanted = recording.order.indexOf(Number(location.hash.slice(1) || NaN));
  setOverlay(false);
  await go(Math.max(wanted, 0));
  if (frame) listen();
}

start().catch((problem) => alarm(`The page cannot be shown: ${problem.message}`));
