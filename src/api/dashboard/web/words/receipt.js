// The receipt of a purchase.
import { define } from "../lib/words.js";

define("receipt", {
  account: ["Account", "الحساب"],
  amount: ["Amount paid", "المبلغ المدفوع"],
  back: ["Back to billing", "العودة إلى الفواتير"],
  bought: ["Bought", "المشترى"],
  check_words: [
    "Download the receipt, and check it on any machine that has the program, without this server:",
    "نزّل الإيصال وتحقّق منه على أي جهاز عليه البرنامج، دون الحاجة إلى هذا الخادم:",
  ],
  download: ["Download the signed receipt", "تنزيل الإيصال الموقّع"],
  entry: ["Entry in the books", "القيد في الدفاتر"],
  entry_value: ["No. {n},", "رقم {n}،"],
  hash: ["Hash of the entry", "بصمة القيد"],
  key: ["Signed with key", "موقّع بالمفتاح"],
  never_expire: ["Credits never expire.", "الرصيد لا تنتهي صلاحيته."],
  number: ["Receipt no.", "رقم الإيصال"],
  old_key: [
    "The server has another key by now. Check this receipt with the public key that you kept.",
    "للخادم مفتاح آخر الآن. تحقّق من هذا الإيصال بالمفتاح العام الذي احتفظت به.",
  ],
  pack: ["pack", "باقة"],
  paid_at: ["Paid on", "تاريخ الدفع"],
  prev_hash: ["Hash of the entry before", "بصمة القيد السابق"],
  print: ["Print", "طباعة"],
  proof: ["Proof", "الإثبات"],
  proof_words: [
    "This purchase is an entry in the server's hash-chained books, and this receipt is signed (Ed25519).",
    "هذه العملية قيدٌ في دفاتر الخادم المترابطة بالبصمات، وهذا الإيصال موقّع (Ed25519).",
  ],
  provider: ["Paid through", "وسيلة الدفع"],
  public_key: ["Public key", "المفتاح العام"],
  reference: ["Payment reference", "مرجع الدفع"],
  refunded: ["Refunded", "المسترد"],
  server: ["Issued by the server", "صادر عن الخادم"],
  signature: ["Signature", "التوقيع"],
  title: ["Receipt", "إيصال"],
  to_order: ["Show the order", "عرض الطلب"],
  total: ["Total", "الإجمالي"],
  unpaid: [
    "This order is not paid, so there is no receipt yet.",
    "هذا الطلب غير مدفوع، لذا لا يوجد إيصال بعد.",
  ],
});
