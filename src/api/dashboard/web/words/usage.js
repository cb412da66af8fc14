// Requests and what they cost.
import { define } from "../lib/words.js";

define("usage", {
  credits: ["Credits", "الرصيد"],
  finish: ["Ended", "الانتهاء"],
  first_token: ["First token", "أول رمز"],
  key: ["Key", "المفتاح"],
  model: ["Model", "النموذج"],
  no_requests: ["No requests yet.", "لا طلبات بعد."],
  requests: ["Requests", "الطلبات"],
  time: ["Time", "المدة"],
  tokens_in: ["Input", "الإدخال"],
  tokens_out: ["Output", "الإخراج"],
  when: ["When", "الوقت"],
});
