// Line icons, drawn for this dashboard on a grid of 24. They say nothing that a word beside them
// does not say, so screen readers skip them.
import { html } from "./ui.js";

const PATHS = {
  home: "M4 11 12 4l8 7M6 9.500V20h12V9.500M10 20v-6h4v6",
  card: "M3 6h18v12H3zM3 10h18M7 15h3",
  book: "M5 4h11a3 3 0 0 1 3 3v13H8a3 3 0 0 1-3-3zM5 17a3 3 0 0 1 3-3h11M9 8h6",
  key: "M14.500 9.500a4 4 0 1 0-3.900 4l1.400 1.500h2v2h2v2h3v-3l-5.100-5.100M9.500 9.500h0",
  chart: "M4 20h16M7 20v-7M12 20V6M17 20v-10",
  chat: "M4 5h16v11H11l-5 4v-4H4zM8 9h8M8 12h5",
  code: "m8 8-4 4 4 4M16 8l4 4-4 4M13.500 5l-3 14",
  users: "M9 11a3.500 3.500 0 1 0 0-7 3.500 3.500 0 0 0 0 7M2.500 20c.5-4 3-6 6.500-6s6 2 6.500 6M16 4.500a3.500 3.500 0 0 1 0 6.500M18 14.500c2 .8 3.200 2.700 3.500 5.500",
  team: "M4 20V8l8-4 8 4v12M9 20v-5h6v5M9 10h.01M15 10h.01M12 10h.01",
  gift: "M4 11h16v9H4zM3 7h18v4H3zM12 7v13M12 7c-4 0-5-4-2.500-4C11.500 3 12 7 12 7c0 0 .5-4 2.500-4C17 3 16 7 12 7",
  coins: "M9 12c3.300 0 6-1.300 6-3s-2.700-3-6-3-6 1.300-6 3 2.700 3 6 3M3 9v6c0 1.700 2.700 3 6 3 .7 0 1.400-.1 2-.2M15 9v2M15 14c3.300 0 6-1.300 6 0M15 20c3.300 0 6-1.100 6-2.500v-4M9.500 15.500C9.500 14 12 13 15 13s6 1 6 2.500S18.300 18 15 18s-5.500-1-5.500-2.500M9.500 15.500v2.200C9.500 19 12 20 15 20",
  cpu: "M7 7h10v10H7zM10 10h4v4h-4zM9 3v4M15 3v4M9 17v4M15 17v4M3 9h4M3 15h4M17 9h4M17 15h4",
  shield: "M12 3 5 6v5c0 5 3 8.500 7 10 4-1.500 7-5 7-10V6zM9 12l2 2 4-4",
  list: "M8 6h12M8 12h12M8 18h12M4 6h.01M4 12h.01M4 18h.01",
  sun: "M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8M12 2v2M12 20v2M4.900 4.900l1.400 1.400M17.700 17.700l1.400 1.400M2 12h2M20 12h2M4.900 19.100l1.400-1.400M17.700 6.300l1.400-1.400",
  moon: "M20 14.500A8 8 0 0 1 9.500 4 8 8 0 1 0 20 14.500",
  language: "M3 6h9M7.500 4v2M10 6c-.8 4-3.300 6.500-6.500 8M5 9c1 2.300 3 4.300 6 5M12 20l4.500-10L21 20M13.500 17h6",
  out: "M14 4h5v16h-5M10 8l-4 4 4 4M6 12h9",
  menu: "M4 7h16M4 12h16M4 17h16",
  close: "m6 6 12 12M18 6 6 18",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  check: "m5 12 5 5 9-10",
  plus: "M12 5v14M5 12h14",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10 11v5M14 11v5",
  down: "M12 4v12M7 11l5 5 5-5M5 20h14",
  print: "M7 9V4h10v5M7 17H4v-8h16v8h-3M7 14h10v6H7z",
  refresh: "M19 12a7 7 0 1 1-2-5l2 2M19 4v5h-5",
  send: "M4 12 20 4l-5 16-4-7zM11 13l9-9",
  stop: "M7 7h10v10H7z",
  bell: "M6 16V11a6 6 0 0 1 12 0v5l1.500 2h-15zM10 20h4",
  warning: "M12 4 2.500 20h19zM12 10v4M12 17h.01",
  scales: "M12 4v16M8 20h8M5 8c2.500 0 5-.7 7-2 2 1.300 4.500 2 7 2M2.500 14 5 8l2.500 6a2.600 2.600 0 0 1-5 0ZM16.500 14 19 8l2.500 6a2.600 2.600 0 0 1-5 0Z",
};

/** The icon called `name`, as large as the text around it. */
export const Icon = ({ name }) => html`
  <svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
    <path d=${PATHS[name]} />
  </svg>
`;
