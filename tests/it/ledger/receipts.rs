//! Receipts of real charges: whose they are, when there are none, and that they are signed only
//! when the transfer behind them survives a power cut.

use std::fs;

use mizan::ledger::{Receipt, ReceiptError, ServerKeys, check_receipt};

use super::{Books, Ending, open, request, singles};

fn wal_bytes(books: &Books) -> u64 {
    fs::metadata(books.path().with_extension("db-wal")).unwrap().len()
}

#[test]
fn a_receipt_says_what_the_books_say() {
    let books = Books::new();
    let account = books.account("alice", 100);
    let key = books.key(account, None);
    let meter = open(&books.ledger, request(account, key, 2)).unwrap();
    books.ledger.charge(meter, 0, singles(3)).wait().unwrap();
    let refused = books.ledger.charge_receipt(account, meter);
    assert!(matches!(refused, Err(ReceiptError::StillRunning)), "{refused:?}");
    books.ledger.close_meter(meter, "stop").wait().unwrap();

    let before = wal_bytes(&books);
    let signed = books.ledger.charge_receipt(account, meter).unwrap();
    assert!(wal_bytes(&books) > before, "a commit that lasts came first");
    let after = wal_bytes(&books);
    assert_eq!(books.ledger.charge_receipt(account, meter).unwrap(), signed);
    assert_eq!(wal_bytes(&books), after, "and is not made again");

    let text = serde_json::to_string(&signed).unwrap();
    let public = books.ledger.server_keys().public_key();
    let Receipt::Charge(receipt) = check_receipt(&text, &public).unwrap() else {
        panic!("a purchase")
    };
    let head = books.ledger.chain_head().unwrap();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let record = books.ledger.generation(account, meter).unwrap().unwrap();
    assert_eq!(receipt.request, meter.to_string());
    assert_eq!((receipt.account.as_str(), receipt.model.as_str()), ("alice", "test-model"));
    assert_eq!((receipt.input_tokens, receipt.output_tokens, receipt.credits), (30, 3, 6));
    assert_eq!(receipt.credits_per_token, 2);
    assert_eq!(receipt.ids_sha256, hex(&record.ids_sha256.unwrap()));
    assert_eq!((receipt.transfer.seq, receipt.transfer.hash), (head.seq, hex(&head.hash)));
    assert_eq!(receipt.transfer.time, "2026-03-01T00:00:00.000+03:00");

    // The keys outlive the process, so an old receipt still checks.
    let books = books.reopen();
    let public = books.ledger.server_keys().public_key();
    assert!(check_receipt(&text, &public).is_ok());
    let file = ServerKeys::read(&ServerKeys::path_beside(&books.path())).unwrap();
    assert_eq!(file.public_key(), public);
}

#[test]
fn what_was_not_paid_has_no_receipt() {
    let books = Books::new();
    let (alice, bob) = (books.account("alice", 100), books.account("bob", 100));
    let key = books.key(alice, None);
    books.used_meter(alice, key, 3, Ending::Reversed);
    let free = open(&books.ledger, request(alice, key, 1)).unwrap();
    books.ledger.close_meter(free, "stop").wait().unwrap();
    let paid = open(&books.ledger, request(alice, key, 1)).unwrap();
    books.ledger.charge(paid, 0, singles(1)).wait().unwrap();
    books.ledger.close_meter(paid, "stop").wait().unwrap();
    let reversed = super::strings(&books.raw(), "SELECT lower(hex(id)) FROM meter WHERE rowid=1");
    let reversed = reversed[0].parse().unwrap();
    let refused = |account, meter| books.ledger.charge_receipt(account, meter).unwrap_err();
    assert!(matches!(refused(alice, reversed), ReceiptError::Reversed));
    assert!(matches!(refused(alice, free), ReceiptError::NothingCharged));
    assert!(matches!(refused(bob, paid), ReceiptError::Unknown), "another's is as unknown as none");
}
