// Users.
import { define } from "../lib/words.js";

define("users", {
  account: ["Account", "الحساب"],
  again: ["Invite again", "دعوة مجددًا"],
  change_role: ["Change role", "تغيير الدور"],
  choose: ["Choose an account", "اختر حسابًا"],
  disable: ["Disable", "تعطيل"],
  disable_self: ["This is you: you will be signed out.", "هذا أنت: سيتم تسجيل خروجك."],
  disable_title: ["Disable this user?", "هل تريد تعطيل هذا المستخدم؟"],
  disable_what: [
    "They are signed out everywhere, and can never sign in again. What they did stays in the books.",
    "سيُسجَّل خروجه من كل مكان ولن يتمكن من الدخول مرة أخرى. وتبقى عملياته مسجلة في الدفاتر.",
  ],
  disabled: ["Disabled", "معطّل"],
  give: ["Give this link to", "أرسل هذا الرابط إلى"],
  given: ["I have passed it on", "أرسلته"],
  invitation: ["Invitation", "دعوة"],
  invite: ["Invite", "دعوة مستخدم"],
  invited: ["Invited", "مدعو"],
  is_active: ["Active", "فعّال"],
  lead: [
    "People who sign in to this account by name and password.",
    "من يسجّلون الدخول إلى هذا الحساب بالاسم وكلمة المرور.",
  ],
  lead_all: [
    "People who sign in: of all accounts, and operators.",
    "من يسجّلون الدخول: مستخدمو الحسابات كافة والمشغّلون.",
  ],
  make: ["Make the invitation", "إنشاء الدعوة"],
  may_member: [
    "Uses the models, and sees the balance and the usage.",
    "يستخدم النماذج ويرى الرصيد والاستخدام.",
  ],
  may_operator: [
    "Runs the server: all accounts, payments, models and books.",
    "يدير الخادم: الحسابات كلها والمدفوعات والنماذج والدفاتر.",
  ],
  may_owner: [
    "Everything on the account: billing, keys and users too.",
    "كل ما في الحساب، ومنه الفواتير والمفاتيح والمستخدمون.",
  ],
  name: ["Name", "الاسم"],
  name_hint: [
    "To sign in with, such as an e-mail address: without spaces.",
    "لتسجيل الدخول، كعنوان بريد إلكتروني، ومن دون مسافات.",
  ],
  none: ["No users yet. Invite somebody.", "لا مستخدمين بعد. ادعُ أحدًا."],
  of_account: ["Users of {account}", "مستخدمو {account}"],
  once: [
    "The link is shown only now, and works once. Whoever has it can set the password.",
    "يظهر الرابط الآن فقط ويعمل مرة واحدة. يستطيع من يملكه تعيين كلمة المرور.",
  ],
  role: ["Role", "الدور"],
  show_all: ["All users", "كل المستخدمين"],
  since: ["Since", "منذ"],
  state: ["State", "الحالة"],
  until: ["It works until {time}.", "يعمل حتى {time}."],
  was_disabled: ["{name} is disabled.", "عُطّل {name}."],
  you: ["(you)", "(أنت)"],
});
