// A small line of the latest readings. The figure beside it says the last one.
import { html } from "./ui.js";

const WIDTH = 240;
const HEIGHT = 48;

/** `values`, the latest last; the line ends at the right, however few there are. */
export function Spark({ label, values, slots = 120 }) {
  const most = Math.max(1, ...values);
  const x = (n) => WIDTH - ((values.length - 1 - n) * WIDTH) / (slots - 1);
  const y = (value) => HEIGHT - 2 - (value / most) * (HEIGHT - 6);
  const points = values.map((value, n) => `${x(n).toFixed(1)},${y(value).toFixed(1)}`);
  return html`
    <svg class="spark" viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" role="img" aria-label=${label}>
      ${points.length > 1 &&
      html`
        <polygon points="${x(0).toFixed(1)},${HEIGHT} ${points.join(" ")} ${WIDTH},${HEIGHT}" />
        <polyline points=${points.join(" ")} />
      `}
    </svg>
  `;
}
