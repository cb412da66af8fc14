// Signing in and accepting an invitation.
import { define } from "../lib/words.js";

define("entrance", {
  again: ["The same once more", "أعد كتابتها"],
  as_user: ["Name and password", "الاسم وكلمة المرور"],
  by_key: ["Key", "مفتاح"],
  differ: ["The two are not the same.", "الكلمتان غير متطابقتين."],
  enter: ["Sign in", "تسجيل الدخول"],
  invited: ["Welcome", "أهلًا بك"],
  invited_lead: [
    "Choose a password for your account here. This link works once.",
    "اختر كلمة مرور لحسابك هنا. يعمل هذا الرابط مرة واحدة.",
  ],
  key: ["Key", "المفتاح"],
  key_hint: [
    "A key of your team, or the operator's key. The first start of the server printed one of each.",
    "مفتاح فريقك أو مفتاح المشغّل. طُبع واحد من كلٍّ منهما عند أول تشغيل للخادم.",
  ],
  lead: ["Language models on your own machine, paid by the token.", "نماذج لغوية على جهازك، تدفع لكل رمز."],
  lost: ["You were signed out. Please sign in again.", "انتهت جلستك. سجّل الدخول مرة أخرى."],
  name: ["Name", "الاسم"],
  new_password: ["New password", "كلمة مرور جديدة"],
  password: ["Password", "كلمة المرور"],
  password_hint: ["At least 12 characters.", "12 حرفًا على الأقل."],
  set_password: ["Set password", "تعيين كلمة المرور"],
  title: ["Sign in", "تسجيل الدخول"],
  way: ["How to sign in", "طريقة الدخول"],
});
