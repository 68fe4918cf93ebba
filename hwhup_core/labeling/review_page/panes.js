// The pictures with the joints over them: drawing, zoom, and what the mouse does.

const SVG = 'http://www.w3.org/2000/svg';
const NEAR_PX = 14;
const DOT_PX = 5.5;
const PIXELATED_ABOVE = 3;

function element(name, attributes = {}, parent = null) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (parent) parent.append(made);
  return made;
}

function side(name) {
  return name.startsWith('left_') ? 'left' : name.startsWith('right_') ? 'right' : 'middle';
}

export class Panes {
  // actions: select(name), moving(name, x, y), moved(name, from), placed(x, y), canPlace()
  constructor(root, actions) {
    this.actions = actions;
    this.figures = [...root.querySelectorAll('figure')];
    this.overlay = false;
    this.opacity = 0.5;
    this.showMask = false;
    for (const figure of this.figures) this.prepare(figure.querySelector('svg'));
    new ResizeObserver(() => this.draw()).observe(root);
  }

  prepare(svg) {
    svg.append(element('g', { class: 'pictures' }), element('g', { class: 'bones' }), element('g', { class: 'joints' }));
    svg.addEventListener('pointerdown', (event) => this.press(svg, event));
    svg.addEventListener('wheel', (event) => this.wheel(svg, event), { passive: false });
  }

  // ---------------------------------------------------------------------------------------------------------- drawing

  show(frame) {
    this.frame = frame;
    const size = frame.size.join();
    if (size !== this.size) {
      this.size = size;
      this.whole();
    }
    this.pictures();
    this.draw();
  }

  pictures() {
    const { frame } = this;
    if (!frame) return;
    const kinds = frame.pictures.filter((kind) => kind !== 'mask');
    const shown = this.overlay || kinds.length < 2 ? [kinds.slice(0, 2)] : [[kinds[0]], [kinds[1]]];
    this.figures.forEach((figure, number) => {
      const layers = shown[number] ?? [];
      figure.hidden = !layers.length;
      figure.querySelector('figcaption').textContent = layers.join(' + ').replace('color', 'colour');
      const mask = this.showMask && frame.pictures.includes('mask') && layers.length ? ['mask'] : [];
      this.setImages(figure.querySelector('.pictures'), [...layers, ...mask]);
    });
  }

  setImages(group, kinds) {
    const [width, height] = this.frame.size;
    const wanted = kinds.map((kind) => `/api/frames/${this.frame.index}/${kind}`);
    const images = [...group.children];
    if (wanted.join() !== images.map((image) => image.getAttribute('href')).join()) {
      group.replaceChildren(
        ...wanted.map((href) => element('image', { href, width, height, preserveAspectRatio: 'none' })),
      );
    }
    [...group.children].forEach((image, layer) => {
      const blended = layer === 1 && kinds[1] !== 'mask';
      image.setAttribute('opacity', blended ? this.opacity : 1);
    });
  }

  whole() {
    this.view = [0, 0, ...this.frame.size];
  }

  draw() {
    if (!this.frame) return;
    for (const figure of this.figures) if (!figure.hidden) this.drawOne(figure.querySelector('svg'));
  }

  drawOne(svg) {
    svg.setAttribute('viewBox', this.view.join(' '));
    const scale = svg.getScreenCTM()?.a || 1;
    svg.classList.toggle('pixelated', scale > PIXELATED_ABOVE);
    const { joints, status } = this.frame.label;
    const byName = new Map(joints.filter((joint) => joint.labelled).map((joint) => [joint.name, joint]));
    svg.classList.toggle('rejected', status === 'rejected');
    const [bones, dots] = [svg.querySelector('.bones'), svg.querySelector('.joints')];
    bones.replaceChildren();
    dots.replaceChildren();
    for (const [from, to] of this.frame.bones) {
      if (byName.has(from) && byName.has(to)) this.drawBone(bones, byName.get(from), byName.get(to));
    }
    const chosen = this.actions.selected();
    const last = [...byName.values()].sort((a, b) => (a.name === chosen) - (b.name === chosen));
    for (const joint of last) this.drawJoint(dots, joint, scale);
  }

  drawBone(group, from, to) {
    const kinds = [side(from.name) === 'middle' ? side(to.name) : side(from.name)];
    if (side(from.name) !== side(to.name) && side(from.name) !== 'middle' && side(to.name) !== 'middle') kinds[0] = 'middle';
    if (!from.visible || !to.visible) kinds.push('hidden');
    if (from.doubtful && to.doubtful) kinds.push('doubtful');
    const ends = { x1: from.x, y1: from.y, x2: to.x, y2: to.y };
    element('line', { class: 'under', ...ends }, group);
    element('line', { class: kinds.join(' '), ...ends }, group);
  }

  drawJoint(group, joint, scale) {
    const state = joint.visible ? 'seen' : 'hidden';
    const chosen = joint.name === this.actions.selected();
    const dot = element('g', { 'data-joint': joint.name, 'data-state': state }, group);
    const place = { cx: joint.x, cy: joint.y };
    if (chosen) element('circle', { class: 'chosen', ...place, r: (DOT_PX + 5) / scale }, dot);
    const kinds = ['dot', state, side(joint.name), ...(joint.doubtful ? ['doubtful'] : [])];
    element('circle', { class: 'rim', ...place, r: (DOT_PX + 1.2) / scale }, dot);
    element('circle', { class: kinds.join(' '), ...place, r: (joint.visible ? DOT_PX : DOT_PX - 0.8) / scale }, dot);
    if (chosen) {
      const label = element('text', { x: joint.x + 14 / scale, y: joint.y - 9 / scale, 'font-size': 13 / scale }, dot);
      label.textContent = joint.name.replaceAll('_', ' ');
    }
  }

  // ------------------------------------------------------------------------------------------------------------ mouse

  at(svg, event) {
    const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    return [x, y];
  }

  inside([x, y]) {
    const [width, height] = this.frame.size;
    return [Math.min(Math.max(x, 0), width), Math.min(Math.max(y, 0), height)];
  }

  nearest(svg, [x, y]) {
    const reach = NEAR_PX / svg.getScreenCTM().a;
    const found = this.frame.label.joints
      .filter((joint) => joint.labelled)
      .map((joint) => [Math.hypot(joint.x - x, joint.y - y), joint])
      .sort((a, b) => a[0] - b[0])[0];
    return found && found[0] < reach ? found[1] : null;
  }

  press(svg, event) {
    if (event.button !== 0 || !this.frame) return;
    event.preventDefault();
    document.activeElement?.blur();
    const start = this.at(svg, event);
    const joint = this.nearest(svg, start);
    if (joint) this.dragJoint(svg, event, joint, start);
    else if (this.actions.canPlace()) this.actions.placed(...this.inside(start));
    else this.dragView(svg, event, start);
  }

  dragJoint(svg, event, joint, start) {
    const before = [joint.x, joint.y];
    const frame = this.frame;
    let moved = false;
    this.actions.select(joint.name);
    const move = (later) => {
      if (this.frame !== frame) return;
      const [x, y] = this.at(svg, later);
      moved ||= Math.hypot(later.clientX - event.clientX, later.clientY - event.clientY) > 2;
      if (moved) this.actions.moving(joint.name, ...this.inside([before[0] + x - start[0], before[1] + y - start[1]]));
    };
    follow(svg, event, move, () => moved && this.actions.moved(joint.name, before));
  }

  dragView(svg, event, start) {
    follow(svg, event, (later) => {
      const [x, y] = this.at(svg, later);
      this.view = [this.view[0] + start[0] - x, this.view[1] + start[1] - y, this.view[2], this.view[3]];
      this.draw();
    });
  }

  wheel(svg, event) {
    event.preventDefault();
    if (!this.frame) return;
    const [x, y] = this.at(svg, event);
    const [width] = this.frame.size;
    const wanted = this.view[2] * Math.exp(event.deltaY * 0.0015);
    const factor = Math.min(Math.max(wanted, width / 30), width) / this.view[2];
    const [left, top, wide, high] = this.view;
    this.view = [x + (left - x) * factor, y + (top - y) * factor, wide * factor, high * factor];
    if (this.view[2] >= width) this.whole();
    this.draw();
  }
}

function follow(svg, event, move, done = () => {}) {
  const stop = new AbortController();
  const { signal } = stop;
  svg.setPointerCapture(event.pointerId);
  svg.addEventListener('pointermove', move, { signal });
  const end = () => {
    stop.abort();
    done();
  };
  svg.addEventListener('pointerup', end, { signal });
  svg.addEventListener('pointercancel', end, { signal });
}
