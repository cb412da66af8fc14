// An account's first page.
import { define } from "../lib/words.js";

define("home", {
  all: ["All requests", "كل الطلبات"],
  bought: ["bought or granted", "مشتراة أو ممنوحة"],
  buy: ["Buy credits", "شراء رصيد"],
  by: ["Grouped by", "حسب"],
  by_key: ["By key", "حسب المفتاح"],
  by_model: ["By model", "حسب النموذج"],
  chart: ["Credits used per day", "الرصيد المستخدم يوميًا"],
  days: [
    { one: "{n} day", other: "{n} days" },
    { zero: "أقل من يوم", one: "يوم واحد", two: "يومان", few: "{n} أيام", many: "{n} يومًا", other: "{n} يوم" },
  ],
  ever: ["since the beginning", "منذ البداية"],
  had: ["Received", "المستلم"],
  left: ["Lasts about", "يكفي حوالي"],
  long: ["for years", "لسنوات"],
  low: ["The balance is below {below}.", "الرصيد أقل من {below}."],
  no_scope: ["This key may not see the account's usage.", "لا يسمح هذا المفتاح بعرض استخدام الحساب."],
  rate: ["at {n} a day (last 7 days)", "بمعدل {n} يوميًا (آخر 7 أيام)"],
  recent: ["Recent requests", "أحدث الطلبات"],
  try: ["Try a model", "جرّب نموذجًا"],
  unit: ["credits", "وحدة رصيد"],
  used: ["Used", "المستخدم"],
});
