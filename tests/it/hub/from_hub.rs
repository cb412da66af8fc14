//! Models from a hub on loopback: resumed, broken off, refused.

use std::fs;
use std::time::Instant;

use mizan::config::Secret;

use super::fake_hub::Answer;
use super::*;

#[test]
fn a_file_is_downloaded_into_the_hubs_cache_and_used_there() {
    let bytes = weights(20);
    let (hub, mut machine, entry) = one_file(&bytes);
    machine.hub.token = Some(Secret::new("hf_secret"));
    let (fetched, reports) = machine.fetch(&entry);
    let files = fetched.expect("fetched");
    let snapshot = format!("cache/models--owner--name/snapshots/{}/{FILE}", COMMIT);
    assert_eq!(files.path, machine.folder.path().join(snapshot));
    assert_eq!(files.source, "hub owner/name");
    assert_eq!(reports, ["started hub owner/name 2500000", "verifying", "done"]);
    assert_eq!(machine.listing(), ["m.json", "m.lock"]);
    assert!(hub.tokens().iter().all(|token| token.as_deref() == Some("hf_secret")));

    // From here on without a hub, and without reading the weights again.
    hub.refuse(500);
    let (fetched, reports) = machine.fetch(&entry);
    assert_eq!((fetched.expect("there"), reports), (files.clone(), vec!["done".to_owned()]));
    machine.must_fetch(&entry, &bytes);

    // Another machine folder with the same cache: what other tools downloaded is found.
    let models = machine.folder.path().join("other");
    let found = machine.hub.locate(&entry, &models).expect("nothing wrong").expect("found");
    assert_eq!(found.path, files.path);
}

#[test]
fn a_redirect_is_followed_without_the_token() {
    let bytes = weights(19);
    let (hub, mut machine, entry) = one_file(&bytes);
    machine.hub.token = Some(Secret::new("hf_secret"));
    hub.redirect();
    machine.must_fetch(&entry, &bytes);
    assert_eq!(hub.tokens(), [Some("hf_secret".to_owned()), Some("hf_secret".to_owned())]);
    // What the file is, hf-hub asks there too, with the token; the bytes are fetched without.
    assert_eq!(hub.storage_tokens().last(), Some(&None));
}

#[test]
fn a_commit_is_found_in_the_cache_without_a_name_for_it() {
    let bytes = weights(21);
    let (_hub, machine, pinned) = one_file(&bytes);
    machine.must_fetch(&pinned, &bytes);
    let source = Source::Hub {
        repo: "owner/name".to_owned(),
        files: vec![FILE.to_owned()],
        revision: COMMIT.to_owned(),
    };
    fs::remove_file(machine.path("m.json")).expect("removed");
    let found = machine.locate(&entry(&bytes, vec![source])).expect("nothing wrong");
    assert!(found.is_some());
}

#[test]
fn a_download_that_breaks_off_is_resumed() {
    let bytes = weights(22);
    let (hub, machine, entry) = one_file(&bytes);
    hub.answer(&[Answer::Break(1_000_000), Answer::Break(500_000)]);
    machine.must_fetch(&entry, &bytes);
    let starts = hub.starts();
    assert_eq!(starts.len(), 3, "{starts:?}");
    assert!(starts.is_sorted() && starts[1] > 0, "{starts:?}");
}

#[test]
fn a_download_that_gets_no_further_fails_and_is_resumed_next_time() {
    let bytes = weights(23);
    let (hub, machine, entry) = one_file(&bytes);
    hub.answer(&[Answer::Break(1_500_000), Answer::Break(0)]);
    let (fetched, reports) = machine.fetch(&entry);
    assert!(fetched.expect_err("broken off").starts_with("no source has m: hub owner/name: "));
    assert_eq!(reports[0], "started hub owner/name 2500000");
    assert_eq!(machine.locate(&entry).expect("nothing wrong"), None);

    let reached = *hub.starts().last().expect("a request");
    assert!(reached > 0);
    machine.must_fetch(&entry, &bytes);
    assert_eq!(hub.starts(), [reached]);
}

#[test]
fn what_a_killed_process_left_is_resumed_or_thrown_away() {
    let bytes = weights(24);
    let etag = sha256(&bytes).to_string();
    let (hub, machine, pinned) = one_file(&bytes);
    leave_part(&machine, &etag, &bytes[..2_000_000]);
    machine.must_fetch(&pinned, &bytes);
    assert_eq!(hub.starts(), [2_000_000]);

    // All bytes there, only the name was missing; or more bytes than the file has.
    for part in [bytes.clone(), [bytes.as_slice(), b"more"].concat()] {
        let (hub, machine, entry) = one_file(&bytes);
        leave_part(&machine, &etag, &part);
        machine.must_fetch(&entry, &bytes);
        assert_eq!(hub.starts(), [0]);
    }

    // Bytes of another file: found out by the digest, thrown away, and right the next time.
    let (hub, machine, entry) = one_file(&bytes);
    leave_part(&machine, &etag, &[7; 1_000_000]);
    let (fetched, _) = machine.fetch(&entry);
    let error = fetched.expect_err("damaged");
    assert!(error.contains("hub owner/name: sha256 ") && error.ends_with(&etag), "{error}");
    assert_eq!(listing(&blobs(&machine)), [format!("{etag}.lock")]);
    machine.must_fetch(&entry, &bytes);
    assert_eq!(hub.starts(), [1_000_000, 0]);
}

#[test]
fn other_weights_are_refused_before_they_are_downloaded() {
    let bytes = weights(26);
    let (hub, machine, mut entry) = one_file(&bytes);
    entry.sha256 = Some([0; 32]);
    let (fetched, _) = machine.fetch(&entry);
    let why = format!("sha256 {} instead of {}", sha256(&bytes), "0".repeat(64));
    assert_eq!(fetched.expect_err("other"), format!("no source has m: hub owner/name: {why}"));
    entry.bytes = Some(1);
    let (fetched, _) = machine.fetch(&entry);
    let why = "no source has m: hub owner/name: 2500000 bytes instead of 1";
    assert_eq!(fetched.expect_err("other"), why);
    assert!(hub.starts().is_empty());
}

#[test]
fn refusals_say_what_to_do() {
    let (hub, mut machine, entry) = one_file(&weights(28));
    let endpoint = hub.endpoint.clone();
    let check = |machine: &Machine, why: &str| {
        let (fetched, _) = machine.fetch(&entry);
        let expected = format!("no source has m: hub owner/name: {why}");
        assert_eq!(fetched.expect_err("refused"), expected);
    };
    let answered = |status| format!("{endpoint} answered {status}");
    hub.refuse(401);
    let advice = "no such repository, or one that needs its licence accepted and HF_TOKEN set";
    check(&machine, &format!("{}: {advice}", answered(401)));
    hub.refuse(404);
    check(&machine, &format!("{}: no such repository, revision or file", answered(404)));
    hub.refuse(503);
    check(&machine, &answered(503));
    machine.hub.offline = true;
    check(&machine, "HF_HUB_OFFLINE is set");
    assert!(hub.starts().is_empty());
}

#[test]
fn a_hub_that_does_not_answer_is_left_soon() {
    let bytes = weights(29);
    let (hub, mut machine, mut entry) = one_file(&bytes);
    hub.refuse(0);
    machine.hub.answer_timeout = Duration::from_millis(300);
    machine.pip.write_wheel_copier("python3");
    machine.pip.offer("model==1", "data/weights.bin", &bytes);
    entry.sources.push(wheel_source(&["model==1"]));
    let begun = Instant::now();
    let (fetched, reports) = machine.fetch(&entry);
    assert_eq!(fetched.expect("fetched").source, "pip model==1");
    let line = format!("hub owner/name: no answer from {} within 0.3 s", hub.endpoint);
    assert_eq!(reports[0], line);
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_download_that_stands_still_is_given_up_and_resumed_next_time() {
    let bytes = weights(30);
    let (hub, mut machine, entry) = one_file(&bytes);
    machine.hub.stall_timeout = Duration::from_millis(500);
    hub.answer(&[Answer::Stall(1_000_000)]);
    let (fetched, _) = machine.fetch(&entry);
    assert_eq!(
        fetched.expect_err("stalled"),
        "no source has m: hub owner/name: the download stood still for 0.5 s; it is resumed next \
         time"
    );
    assert_eq!(machine.locate(&entry).expect("nothing wrong"), None);
}
