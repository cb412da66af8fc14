//! When callbacks come: the stand-in delivers them as its faults say, for those who test a server.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};

use super::{TIMEOUT, authenticate, fetch, open, order};
use crate::support::fake_provider::{FakeProvider, Faults, Webhooks};

use mizan::payments::{PaymentProvider, PaymentState};

/// Path, signature and body of a callback that arrived.
type Arrived = (String, String, Vec<u8>);

/// A shop that answers every callback with 204.
fn shop() -> (String, Receiver<Arrived>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let origin = format!("http://{}", listener.local_addr().expect("bound"));
    let (sender, arrived) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream);
            let mut lines = Vec::new();
            for line in reader.by_ref().lines().map_while(Result::ok) {
                if line.is_empty() {
                    break;
                }
                lines.push(line);
            }
            let value = |name: &str| {
                let mut pairs = lines.iter().filter_map(|line| line.split_once(": "));
                let pair = pairs.find(|(found, _)| found.eq_ignore_ascii_case(name));
                pair.map_or(String::new(), |(_, value)| value.to_owned())
            };
            let mut body = vec![0; value("content-length").parse().expect("a length")];
            reader.read_exact(&mut body).expect("a body");
            let path = lines[0].split(' ').nth(1).expect("a path").to_owned();
            let signature = value("hashstring") + &value("myfatoorah-signature");
            sender.send((path, signature, body)).expect("the test goes on");
            let answer = "HTTP/1.1 204 OK\r\nConnection: close\r\n\r\n";
            reader.into_inner().write_all(answer.as_bytes()).expect("answered");
        }
    });
    (origin, arrived)
}

#[test]
fn callbacks_arrive_when_they_should() {
    let fake = FakeProvider::start();
    let (origin, arrived) = shop();
    fake.deliver_to(&origin);
    let (tap, fatoorah) = (fake.tap(TIMEOUT), fake.my_fatoorah(TIMEOUT));
    let providers: [(&dyn PaymentProvider, &str); 2] =
        [(&tap, "hashstring"), (&fatoorah, "MyFatoorah-Signature")];
    let mut number = 0;
    for (provider, header) in providers {
        // By when: once the order is open, paid, and the customer back.
        for (webhooks, counts) in [
            (Webhooks::Once, [0, 1, 1]),
            (Webhooks::Never, [0, 0, 0]),
            (Webhooks::Thrice, [0, 3, 3]),
            (Webhooks::AfterRedirect, [0, 0, 1]),
        ] {
            number += 1;
            fake.faults(Faults { webhooks, ..Faults::default() });
            let mut all = Vec::new();
            let mut so_far = || {
                all.extend(arrived.try_iter());
                all.clone()
            };
            let id = open(provider, &order(number, 2_000));
            assert_eq!(so_far().len(), counts[0], "{webhooks:?}");
            fake.approve(&id);
            assert_eq!(so_far().len(), counts[1], "{webhooks:?}");
            fake.return_url(&id);
            assert_eq!(so_far().len(), counts[2], "{webhooks:?}");
            for (path, signature, body) in so_far() {
                assert_eq!(path, format!("/api/v1/payments/{}/webhook", provider.name()));
                let headers = vec![(header.to_owned(), signature)];
                let claim = authenticate(provider, &(headers, body)).expect("signed");
                assert_eq!(claim.order_id.as_deref(), Some(id.as_str()));
            }
        }

        // So early that the shop does not know the provider's id yet: the answer names ours.
        number += 1;
        fake.faults(Faults { webhooks: Webhooks::BeforeCreateReply, ..Faults::default() });
        let ours = order(number, 2_000);
        let id = open(provider, &ours);
        assert_eq!(arrived.try_iter().count(), 1);
        let payment = fetch(provider, &id);
        assert_eq!(payment.reference, Some(ours.reference));
        assert!(matches!(payment.state, PaymentState::Paid(_)));

        // Nobody is told of a window that was closed.
        number += 1;
        fake.faults(Faults::default());
        let id = open(provider, &order(number, 2_000));
        fake.abandon(&id);
        fake.expire(&id);
        assert_eq!(arrived.try_iter().count(), 0);
    }
    assert_eq!(fake.deliveries(), [204; 12]);
}
