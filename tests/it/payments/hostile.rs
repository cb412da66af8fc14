//! Callbacks made to break their reader: none panics, none is believed beyond what was signed.

use mizan::payments::{Claim, PaymentProvider};

use super::{TIMEOUT, authenticate, open, order};
use crate::support::fake_provider::{Callback, FakeProvider, Faults};
use crate::support::random::Random;

const SEEDS: u64 = 4_000;

/// A callback about each kind of order, with what it claims.
fn real(fake: &FakeProvider) -> Vec<(Box<dyn PaymentProvider>, Callback, Claim)> {
    let mut real = Vec::new();
    for (number, first_version) in [(1, false), (2, false), (3, true)] {
        fake.faults(Faults { first_version, ..Faults::default() });
        let provider: Box<dyn PaymentProvider> = match number {
            1 => Box::new(fake.tap(TIMEOUT)),
            _ => Box::new(fake.my_fatoorah(TIMEOUT)),
        };
        let id = open(&*provider, &order(number, 2_050));
        fake.approve(&id);
        let callback = fake.webhook(&id);
        let claim = authenticate(&*provider, &callback).expect("signed");
        real.push((provider, callback, claim));
    }
    real
}

/// Pieces of JSON that readers have stumbled over.
const PIECES: &[&[u8]] = &[
    b"\"",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"null",
    b"1e999999",
    b"-0",
    b"99999999999999999999999999999999",
    b"0.0001",
    b"\xff\xfe",
    b"\xc3",
    b"\0",
    b"true",
    b",InvoiceId=9",
    b"x_amount9.000",
    b"\"InvoiceId\":9,",
    b"\"id\":\"chg_9\",",
    b"\"Data\":{},",
    b"\"amount\":9,",
    b"\xe2\x80\xae",
];

fn mutate(body: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..1 + random.below(3) {
        let at = random.below(body.len() + 1);
        match random.below(5) {
            0 => drop(body.splice(at..at, random.pick(PIECES).iter().copied())),
            1 if at < body.len() => body[at] = random.next() as u8,
            2 if at < body.len() => body[at] ^= 1 << random.below(8),
            3 => body.truncate(at),
            _ => {
                // A part of the body again, or away.
                let end = (at + random.below(40)).min(body.len());
                let part: Vec<u8> = body[at..end].to_vec();
                let again = if random.below(2) == 0 { part } else { Vec::new() };
                let to = random.below(body.len() + 1);
                let (from, to) = (at.min(to), at.max(to).min(at.min(to) + 40));
                body.splice(from..to, again);
            }
        }
        if body.is_empty() {
            return;
        }
    }
}

#[test]
fn a_changed_body_claims_nothing_else() {
    let fake = FakeProvider::start();
    let real = real(&fake);
    let mut believed = 0;
    for seed in 0..SEEDS {
        let mut random = Random(seed);
        let (provider, (headers, body), claim) = &real[random.below(real.len())];
        let mut changed = body.clone();
        mutate(&mut changed, &mut random);
        // What is not signed may differ; what is signed, and so the claim, may not.
        if let Ok(found) = authenticate(&**provider, &(headers.clone(), changed)) {
            assert_eq!(found, *claim, "seed {seed}");
            believed += 1;
        }
    }
    // The test would be worth little if changes were refused before they are compared.
    assert!(believed > SEEDS / 100, "{believed}");
}

#[test]
fn a_changed_signature_is_never_believed() {
    let fake = FakeProvider::start();
    let real = real(&fake);
    for seed in 0..SEEDS {
        let mut random = Random(seed);
        let (provider, (headers, body), _) = &real[random.below(real.len())];
        let mut headers = headers.clone();
        let signature = headers.iter_mut().find(|(name, _)| name != "content-type");
        let (_, signature) = signature.expect("signed");
        let mut changed = signature.clone().into_bytes();
        mutate(&mut changed, &mut random);
        let Ok(changed) = String::from_utf8(changed) else { continue };
        if changed == *signature {
            continue;
        }
        *signature = changed;
        let found = authenticate(&**provider, &(headers, body.clone()));
        assert!(found.is_err(), "seed {seed}");
    }
}

#[test]
fn noise_is_refused() {
    let fake = FakeProvider::start();
    let real = real(&fake);
    let deep = |open: &str, depth: usize| open.repeat(depth).into_bytes();
    let mut bodies = vec![
        Vec::new(),
        b"null".to_vec(),
        b"[]".to_vec(),
        b"{}".to_vec(),
        b"{\"Data\":null}".to_vec(),
        b"{\"EventType\":1,\"Data\":[]}".to_vec(),
        deep("[", 60_000),
        deep("{\"a\":", 10_000),
        deep("{\"Data\":", 8_000),
        deep("{\"EventType\":1,\"Data\":{\"a\":[", 2_000),
        format!("{{\"id\":\"chg_1\",\"amount\":{}}}", "9".repeat(60_000)).into_bytes(),
        format!("{{\"EventType\":{0},\"Data\":{{\"a\":{0}}}}}", "1".repeat(30_000)).into_bytes(),
        vec![0xff; 60_000],
    ];
    let mut random = Random(1);
    for _ in 0..500 {
        let length = random.below(400);
        bodies.push((0..length).map(|_| random.next() as u8).collect());
        let pieces = random.below(60);
        bodies.push((0..pieces).flat_map(|_| random.pick(PIECES).iter().copied()).collect());
    }
    for (provider, (headers, _), _) in &real {
        for body in &bodies {
            assert!(authenticate(&**provider, &(headers.clone(), body.clone())).is_err());
        }
    }
}
