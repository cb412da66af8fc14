// Every page: its address, its name and icon in the navigation, and its file. `scope`: shown to
// those only who may do that; the server decides again for every call.

const page = (path, icon, file, more = {}) => ({
  path,
  icon,
  load: () => import(`./pages/${file}.js`),
  ...more,
});

/** Shown without the navigation; `always`: also to those who are signed in. */
export const openPages = {
  "sign-in": page("sign-in", "out", "sign_in"),
  invitation: page("invitation", "users", "invitation", { always: true }),
  docs: page("docs", "code", "docs"),
};

/** `group` starts a new part of the navigation; `hidden` pages are reached by links. */
export const accountPages = [
  page("", "home", "home"),
  page("playground", "chat", "playground"),
  page("usage", "chart", "usage", { scope: "usage" }),
  page("keys", "key", "keys", { scope: "keys" }),
  page("docs", "code", "docs"),
  page("billing", "card", "billing", { scope: "billing", group: "billing" }),
  page("pricing", "scales", "pricing"),
  page("users", "users", "users", { scope: "users", group: "team" }),
  page("receipt", "print", "receipt", { scope: "billing", hidden: true }),
];

export const operatorPages = [
  page("", "cpu", "operator/models"),
  page("accounts", "team", "operator/accounts", { group: "people" }),
  page("users", "users", "users"),
  page("payments", "card", "operator/payments", { group: "money" }),
  page("revenue", "chart", "operator/revenue"),
  page("vouchers", "gift", "operator/vouchers"),
  page("plans", "scales", "operator/plans"),
  page("usage", "list", "usage", { group: "books" }),
  page("ledger", "shield", "operator/ledger"),
  page("audit", "book", "operator/audit"),
  page("docs", "code", "docs"),
];

/** The name in the navigation, as a key of the words. */
export const pageWords = (page, operator) =>
  `pages.${page.path === "" ? (operator ? "models" : "home") : page.path.replace("-", "_")}`;
