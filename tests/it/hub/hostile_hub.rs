//! Hubs that lie: about ranges, digests, and names that would lead out of the cache.

use super::fake_hub::Answer;
use super::*;

#[test]
fn a_hub_that_ignores_ranges_or_sends_garbage_is_not_believed() {
    let bytes = weights(25);
    let etag = sha256(&bytes).to_string();
    let (hub, machine, pinned) = one_file(&bytes);
    leave_part(&machine, &etag, &bytes[..1_000]);
    hub.answer(&[Answer::Whole]);
    let (fetched, _) = machine.fetch(&pinned);
    let why = format!("{} sent more than the 2500000 bytes that it announced", hub.endpoint);
    let expected = format!("no source has m: hub owner/name: {why}");
    assert_eq!(fetched.expect_err("too much"), expected);
    machine.must_fetch(&pinned, &bytes);

    // A server that says so is understood.
    let (hub, machine, pinned) = one_file(&bytes);
    leave_part(&machine, &etag, &bytes[..1_000]);
    hub.answer(&[Answer::NoRanges]);
    machine.must_fetch(&pinned, &bytes);
    assert_eq!(hub.starts(), [1_000]);

    // Without anything known beforehand, what the hub announced is what it must send.
    let (hub, machine, _) = one_file(&bytes);
    let entry = unpinned(vec![hub_source(&[FILE])]);
    hub.answer(&[Answer::Garbage]);
    let (fetched, _) = machine.fetch(&entry);
    assert!(fetched.expect_err("garbage").ends_with(&format!(" instead of {etag}")));
    assert_eq!(machine.locate(&entry).expect("nothing wrong"), None);
    machine.must_fetch(&entry, &bytes);
}

#[test]
fn a_mirror_without_digests_is_checked_against_the_catalog() {
    let bytes = weights(27);
    let (hub, machine, pinned) = one_file(&bytes);
    hub.announce("abc123");
    hub.answer(&[Answer::Garbage]);
    let (fetched, _) = machine.fetch(&pinned);
    assert!(fetched.expect_err("garbage").contains("hub owner/name: sha256 "));
    // The bad file never got a name in the cache.
    assert_eq!(machine.locate(&pinned).expect("nothing wrong"), None);
    machine.must_fetch(&pinned, &bytes);
}

/// Everything on the machine but what pip would need, as paths from its folder.
fn everything(machine: &Machine) -> Vec<String> {
    let root = machine.folder.path();
    let mut found = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(folder) = open.pop() {
        for name in listing(&folder) {
            let path = folder.join(name);
            if path.is_dir() && !path.is_symlink() {
                open.push(path.clone());
            }
            let shown = path.strip_prefix(root).expect("below the root").display().to_string();
            found.push(shown);
        }
    }
    found.sort();
    found
}

#[test]
fn names_that_are_not_a_hubs_are_refused_before_anything_is_written() {
    let (hub, machine, entry) = one_file(&weights(50));
    let check = |why: &str| {
        let (fetched, _) = machine.fetch(&entry);
        let why = format!("{} answered with the {why}: HF_ENDPOINT has to be a hub", hub.endpoint);
        let expected = format!("no source has m: hub owner/name: {why}");
        assert_eq!(fetched.expect_err("refused"), expected);
        assert_eq!(everything(&machine), ["models", "models/m.lock"]);
    };
    let long = "a".repeat(200);
    for (commit, shown) in [
        ("../../../../escaped", "../../../../escaped"),
        ("main", "main"),
        (&"g".repeat(40), &"g".repeat(40)),
        (&long, &long[..128]),
    ] {
        hub.announce_commit(commit);
        check(&format!("commit {shown:?} instead of 40 hexadecimal digits"));
    }
    hub.announce_commit(COMMIT);
    for (etag, shown) in [
        ("../../../etc/cron.d/evil", "../../../etc/cron.d/evil"),
        ("..", ".."),
        ("", ""),
        ("a.part", "a.part"),
        (&long, &long[..128]),
    ] {
        hub.announce(etag);
        check(&format!("etag {shown:?} instead of 1 to 128 letters, digits and hyphens"));
    }
    assert!(hub.starts().is_empty());
}

#[test]
fn what_a_hub_says_after_its_first_answer_does_not_lead_out_of_the_cache() {
    let bytes = weights(51);
    let (hub, machine, pinned) = one_file(&bytes);
    hub.then_announce("../../../escaped", "../../../escaped-too");
    machine.must_fetch(&pinned, &bytes);
    let etag = sha256(&bytes);
    let repo = "cache/models--owner--name";
    assert_eq!(
        everything(&machine),
        [
            "cache".to_owned(),
            repo.to_owned(),
            format!("{repo}/blobs"),
            format!("{repo}/blobs/{etag}"),
            format!("{repo}/blobs/{etag}.lock"),
            format!("{repo}/refs"),
            format!("{repo}/refs/main"),
            format!("{repo}/snapshots"),
            format!("{repo}/snapshots/{COMMIT}"),
            format!("{repo}/snapshots/{COMMIT}/{FILE}"),
            "models".to_owned(),
            "models/m.json".to_owned(),
            "models/m.lock".to_owned(),
        ]
    );
    let branch = machine.folder.path().join(repo).join("refs/main");
    assert_eq!(fs::read_to_string(branch).expect("a commit"), COMMIT);
}

#[test]
fn a_failed_download_costs_nothing_that_was_there() {
    let bytes = weights(52);
    let (hub, machine, entry) = one_file(&bytes);
    let files = machine.must_fetch(&entry, &bytes);
    // Another model of the same repository claims the same blob, and sends something else for it.
    let other = ModelEntry { id: "other".to_owned(), ..unpinned(vec![hub_source(&[FILE])]) };
    fs::remove_file(&files.path).expect("removed");
    hub.answer(&[Answer::Garbage]);
    let (fetched, _) = machine.fetch(&other);
    assert!(fetched.expect_err("garbage").contains("hub owner/name: sha256 "));
    let blob = blobs(&machine).join(sha256(&bytes).to_string());
    assert!(fs::read(blob).expect("still there") == bytes, "other bytes");
}
