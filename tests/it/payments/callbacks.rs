//! Signatures of callbacks: the recorded vectors, and what is not believed.

use mizan::payments::{
    Claim, Forged, Headers, MAX_CALLBACK_BYTES, MyFatoorah, MyFatoorahSettings, PaymentProvider,
    Secret, SecretError, Tap, TapSettings,
};

use super::{TIMEOUT, authenticate, open, order};
use crate::support::fake_provider::{FakeProvider, Faults, Signature};

const KEY: &str = "unit-test-secret";

fn tap() -> Tap {
    Tap::new(TapSettings {
        base_url: TapSettings::BASE_URL.to_owned(),
        timeout: TIMEOUT,
        source: "src_all".to_owned(),
        merchant: None,
        secret_key: Secret::new(KEY).expect("a secret"),
    })
}

fn my_fatoorah() -> MyFatoorah {
    MyFatoorah::new(MyFatoorahSettings {
        base_url: MyFatoorahSettings::BASE_URL.to_owned(),
        timeout: TIMEOUT,
        method: "kn".to_owned(),
        token: Secret::new("token").expect("a secret"),
        webhook_secret: Secret::new(KEY).expect("a secret"),
    })
}

/// Made with OpenSSL over the text that Tap's documentation describes.
const TAP_SIGNATURE: &str = "a870f0fd6801dee1e737f83ecf570c529cacc3ee35e9279c423496598f15b555";
const TAP_BODY: &str = r#"{"id":"chg_TEST0000000000000001","object":"charge","amount":2,
    "currency":"KWD","status":"CAPTURED","transaction":{"created":"1760000000000"},
    "reference":{"gateway":"123456789012345","payment":"0000000000000001","order":"x"}}"#;

fn from_tap(body: &str, signature: &str) -> Result<Option<String>, Forged> {
    let headers = [("Hashstring", signature.as_bytes())].into_iter().collect();
    tap().authenticate(&headers, body.as_bytes()).map(|Claim { order_id, .. }| order_id)
}

#[test]
fn the_vector_of_tap() {
    let id = Ok(Some("chg_TEST0000000000000001".to_owned()));
    // The amount is signed with three decimals, however it is written.
    for amount in ["2", "2.0", "2.00", "2.000"] {
        let body = TAP_BODY.replace("\"amount\":2,", &format!("\"amount\":{amount},"));
        assert_eq!(from_tap(&body, TAP_SIGNATURE), id, "{amount}");
    }
    let wrong = Err(Forged::WrongSignature { header: "hashstring" });
    for (from, to) in [
        ("0001\",\"object", "0002\",\"object"),
        ("\"amount\":2,", "\"amount\":2.001,"),
        ("\"amount\":2,", "\"amount\":20,"),
        ("KWD", "USD"),
        ("CAPTURED", "FAILED"),
        ("123456789012345", "123456789012346"),
        ("0000000000000001\",\"order", "0000000000000002\",\"order"),
        ("1760000000000", "1760000000001"),
        // The same text, cut up elsewhere.
        ("\"123456789012345\",\"payment\":\"", "\"\",\"payment\":\"123456789012345"),
    ] {
        assert!(TAP_BODY.contains(from), "{from}");
        assert_eq!(from_tap(&TAP_BODY.replace(from, to), TAP_SIGNATURE), wrong, "{to}");
    }
    for signature in ["", "0", &TAP_SIGNATURE[..63], &TAP_SIGNATURE.to_uppercase()] {
        assert_eq!(from_tap(TAP_BODY, signature), wrong, "{signature}");
    }
    let malformed = |body: &str| {
        let error = from_tap(body, TAP_SIGNATURE).expect_err(body);
        assert!(matches!(error, Forged::Malformed(_)), "{error}");
    };
    malformed(&TAP_BODY.replace("\"amount\":2,", "\"amount\":2.0001,"));
    malformed(&TAP_BODY.replace("\"amount\":2,", "\"amount\":2e0,"));
    malformed(&TAP_BODY.replace("\"amount\":2,", "\"amount\":2,\"amount\":2,"));
    malformed(&TAP_BODY.replace("chg_TEST", "chg_TEST.x_amount"));
}

#[test]
fn one_signature_not_two_not_none() {
    let unsigned = Err(Forged::Unsigned { header: "hashstring" });
    let tap = tap();
    assert_eq!(tap.authenticate(&Headers::default(), TAP_BODY.as_bytes()), unsigned);
    let twice = ["hashstring", "HASHSTRING"].map(|name| (name, TAP_SIGNATURE.as_bytes()));
    let twice = twice.into_iter().collect();
    assert_eq!(tap.authenticate(&twice, TAP_BODY.as_bytes()), unsigned);
    let once = [("hashstring", TAP_SIGNATURE.as_bytes())].into_iter().collect();
    let long = format!("{TAP_BODY}{}", " ".repeat(MAX_CALLBACK_BYTES));
    assert_eq!(
        tap.authenticate(&once, long.as_bytes()),
        Err(Forged::TooLarge { bytes: long.len() })
    );
    assert!(!format!("{once:?}").contains("a870"), "{once:?}");
}

const FATOORAH_V1: &str = "GRXSaZxCU18FNQJk06S/20hD7j1XcBMu52RXS4Bo0AU=";
const FATOORAH_V1_BODY: &str = r#"{"EventType":1,"Event":"TransactionsStatusChanged",
    "DateTime":"01012026120001","CountryIsoCode":"KWT","Data":{"InvoiceId":1000001,
    "InvoiceReference":"2026000001","CreatedDate":"01012026120000",
    "CustomerReference":"topup_01","TransactionStatus":"SUCCESS","PaymentMethod":"KNET",
    "UserDefinedField":null,"ReferenceId":"600000000001","TrackId":"01-01-2026_1",
    "PaymentId":"100000000000000001","AuthorizationId":"A00001",
    "InvoiceValueInBaseCurrency":2,"BaseCurrency":"KWD","InvoiceValueInDisplayCurreny":2,
    "DisplayCurrency":"KWD","InvoiceValueInPayCurrency":2,"PayCurrency":"KWD"}}"#;

const FATOORAH_V2: &str = "y7mCPy0bhcY6wGkywO08ziUWL728BJ2bzDa/FUpfcWc=";
const FATOORAH_V2_BODY: &str = r#"{"Event":{"Code":1,"Name":"PAYMENT_STATUS_CHANGED"},
    "Data":{"Invoice":{"Id":"1000001","Status":"PAID","ExternalIdentifier":"topup_01"},
    "Transaction":{"Status":"SUCCESS","PaymentId":"100000000000000001"}}}"#;

fn from_fatoorah(body: &str, signature: &str) -> Result<Option<String>, Forged> {
    let headers = [("myfatoorah-signature", signature.as_bytes())].into_iter().collect();
    let claim = my_fatoorah().authenticate(&headers, body.as_bytes());
    claim.map(|Claim { order_id, .. }| order_id)
}

#[test]
fn the_vectors_of_my_fatoorah() {
    let id = Ok(Some("1000001".to_owned()));
    assert_eq!(from_fatoorah(FATOORAH_V1_BODY, FATOORAH_V1), id);
    assert_eq!(from_fatoorah(FATOORAH_V2_BODY, FATOORAH_V2), id);
    let header = "MyFatoorah-Signature";
    let wrong = Err(Forged::WrongSignature { header });
    assert_eq!(from_fatoorah(FATOORAH_V1_BODY, FATOORAH_V2), wrong);
    for (from, to) in [
        ("1000001", "1000002"),
        ("SUCCESS", "FAILED"),
        ("topup_01", "topup_02"),
        ("InBaseCurrency\":2", "InBaseCurrency\":2.0"),
        ("null", "\"x\""),
        ("\"PayCurrency\":\"KWD\"", "\"PayCurrency\":\"KWD\",\"More\":1"),
    ] {
        let body = FATOORAH_V1_BODY.replace(from, to);
        assert_eq!(from_fatoorah(&body, FATOORAH_V1), wrong, "{to}");
    }
    for (from, to) in [
        ("1000001", "1000002"),
        ("PAID", "PENDING"),
        ("SUCCESS", "FAILED"),
        ("topup_01", "topup_02"),
        ("100000000000000001", "100000000000000002"),
    ] {
        let body = FATOORAH_V2_BODY.replace(from, to);
        assert_eq!(from_fatoorah(&body, FATOORAH_V2), wrong, "{to}");
    }
    // A change of a refund signs its data without one field, which may then be anything.
    let refund = FATOORAH_V1_BODY
        .replace("\"EventType\":1", "\"EventType\":2")
        .replace("\"InvoiceId\"", "\"GatewayReference\":\"1\",\"InvoiceId\"");
    assert_eq!(from_fatoorah(&refund, FATOORAH_V1), id);
    assert_eq!(from_fatoorah(&refund.replace("Type\":2", "Type\":1"), FATOORAH_V1), wrong);
}

#[test]
fn no_other_fields_give_the_same_signed_text() {
    let hidden = Err(Forged::Malformed("a field hides another one".to_owned()));
    let moved = FATOORAH_V1_BODY
        .replace("\"InvoiceId\":1000001,", "")
        .replace("\"DisplayCurrency\":\"KWD\"", "\"DisplayCurrency\":\"KWD,InvoiceId=1000001\"");
    assert_eq!(from_fatoorah(&moved, FATOORAH_V1), hidden);
    let key = FATOORAH_V1_BODY
        .replace("\"AuthorizationId\":\"A00001\",", "")
        .replace("\"BaseCurrency\":\"KWD\"", "\"AuthorizationId=A00001,BaseCurrency\":\"KWD\"");
    assert_eq!(from_fatoorah(&key, FATOORAH_V1), hidden);
    let second =
        FATOORAH_V2_BODY.replace("\"Id\":\"1000001\"", "\"Id\":\"1000001,Invoice.Status=PAID\"");
    assert_eq!(from_fatoorah(&second, FATOORAH_V2), hidden);
}

#[test]
fn a_callback_claims_its_order_and_nothing_more() {
    let fake = FakeProvider::start();
    let (tap, fatoorah) = (fake.tap(TIMEOUT), fake.my_fatoorah(TIMEOUT));
    let of_tap = open(&tap, &order(1, 2_050));
    let of_fatoorah = open(&fatoorah, &order(2, 2_050));
    let providers: [(&dyn PaymentProvider, &str, bool); 3] =
        [(&tap, &of_tap, false), (&fatoorah, &of_fatoorah, false), (&fatoorah, &of_fatoorah, true)];
    for (provider, id, first_version) in providers {
        fake.faults(Faults { first_version, ..Faults::default() });
        fake.approve(id);
        let captured = authenticate(provider, &fake.webhook(id)).expect("signed");
        assert_eq!(captured.order_id.as_deref(), Some(id));
        // Delivered again it is the same event; after another decision it is another one.
        assert_eq!(authenticate(provider, &fake.webhook(id)), Ok(captured.clone()));
        fake.decline(id);
        let declined = authenticate(provider, &fake.webhook(id)).expect("signed");
        assert_ne!(declined.event, captured.event);
        for signature in [Signature::Bad, Signature::Absent, Signature::EmptyKey] {
            fake.faults(Faults { signature, first_version, ..Faults::default() });
            let forged = authenticate(provider, &fake.webhook(id)).expect_err("forged");
            let is_absent = matches!(forged, Forged::Unsigned { .. });
            assert_eq!(is_absent, signature == Signature::Absent, "{forged:?}");
        }
        fake.faults(Faults::default());
    }
    // A callback of one provider is nothing to the other.
    assert!(authenticate(&tap, &fake.webhook(&of_fatoorah)).is_err());
    assert!(authenticate(&fatoorah, &fake.webhook(&of_tap)).is_err());
}

#[test]
fn an_empty_secret_can_not_be() {
    assert_eq!(Secret::new("").err(), Some(SecretError::Empty));
    for text in [" ", "a b", "key\n", "ключ", "\u{0}"] {
        assert_eq!(Secret::new(text).err(), Some(SecretError::NotPrintable), "{text:?}");
    }
}
