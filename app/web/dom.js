// Elements without markup: text stays text, whatever a patient code or a message holds.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes (`on...`: a listener; true/false/null: present or not) and children. */
export function element(name, attributes = {}, ...children) {
  return dress(document.createElement(name), attributes, children);
}

/** The same for SVG. */
export function svg(name, attributes = {}, ...children) {
  return dress(document.createElementNS(SVG, name), attributes, children);
}

/** The element of the page with this id. */
export function byId(id) {
  return document.getElementById(id);
}

/** Put other children into an element, unless they are the same as before: focus and selection stay. */
export function replaceChildren(parent, ...children) {
  const fresh = parent.cloneNode(false);
  fresh.append(...children);
  if (!fresh.isEqualNode(parent)) parent.replaceChildren(...fresh.childNodes);
}

function dress(made, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== false && value !== undefined) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((each) => each !== null));
  return made;
}
