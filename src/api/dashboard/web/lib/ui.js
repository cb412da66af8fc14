// What every page imports to draw: `html` makes elements from template strings (htm over Preact).
// Text in ${} is always text, never markup, so nothing that a model or a person wrote can become code.
import { h, render, Fragment } from "preact";
import htm from "htm";

export { h, render, Fragment };
export * from "preact/hooks";
export const html = htm.bind(h);
