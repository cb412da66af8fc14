//! The hub's cache is shared: other tools put files there and move branches on.

use super::*;

/// A commit that another tool fetched.
const NEWER: &str = "dddddddddddddddddddddddddddddddddddddddd";

fn repository(machine: &Machine) -> PathBuf {
    machine.folder.path().join("cache/models--owner--name")
}

/// What another tool leaves when it fetches a newer commit, of which it wants these files.
fn move_on(machine: &Machine, files: &[(&str, &[u8])]) {
    let snapshot = repository(machine).join("snapshots").join(NEWER);
    fs::create_dir_all(&snapshot).expect("a folder");
    for (name, bytes) in files {
        fs::write(snapshot.join(name), bytes).expect("written");
    }
    fs::write(repository(machine).join("refs/main"), NEWER).expect("written");
}

#[test]
fn a_branch_that_another_tool_moved_on_costs_nothing() {
    let bytes = weights(60);
    let newer = weights(61);
    for also_the_file in [false, true] {
        for is_pinned in [false, true] {
            let (hub, mut machine, pinned) = one_file(&bytes);
            let entry = if is_pinned { pinned } else { unpinned(pinned.sources) };
            let files = machine.must_fetch(&entry, &bytes);
            hub.refuse(500);
            move_on(&machine, &[("README.md", b"newer")]);
            if also_the_file {
                move_on(&machine, &[(FILE, &newer)]);
            }
            machine.start_anew();
            assert_eq!(machine.locate(&entry).expect("nothing wrong"), Some(files));
            let (_, reports) = machine.fetch(&entry);
            assert_eq!(reports, ["done"], "{also_the_file} {is_pinned}");
        }
    }
}

#[test]
fn what_was_checked_is_not_taken_for_something_else() {
    let bytes = weights(62);
    let newer = weights(63);
    let (_hub, machine, pinned) = one_file(&bytes);
    let entry = unpinned(pinned.sources);
    machine.must_fetch(&entry, &bytes);
    move_on(&machine, &[("other.gguf", &newer)]);
    for revision in ["v2", NEWER] {
        let repo = "owner/name".to_owned();
        let (files, revision) = (vec![FILE.to_owned()], revision.to_owned());
        let entry = unpinned(vec![Source::Hub { repo, files, revision }]);
        assert_eq!(machine.locate(&entry).expect("nothing wrong"), None);
    }

    // Another file of the repository, of which the older commit was never asked for.
    let older = repository(&machine).join("snapshots").join(COMMIT);
    fs::write(older.join("other.gguf"), b"older").expect("written");
    let other = unpinned(vec![hub_source(&["other.gguf"])]);
    let found = machine.locate(&other).expect("nothing wrong").expect("found");
    assert!(found.path.ends_with(format!("{NEWER}/other.gguf")));
}

#[test]
fn where_the_checked_commit_was_cleared_away_the_newer_one_is_looked_at() {
    let bytes = weights(64);
    let newer = weights(65);
    let (_hub, machine, pinned) = one_file(&bytes);
    let entry = unpinned(pinned.sources);
    let files = machine.must_fetch(&entry, &bytes);
    move_on(&machine, &[("README.md", b"newer")]);
    fs::remove_dir_all(repository(&machine).join("snapshots").join(COMMIT)).expect("removed");
    assert_eq!(machine.locate(&entry).expect("nothing wrong"), None);
    move_on(&machine, &[(FILE, &newer)]);
    let found = machine.locate(&entry).expect("nothing wrong").expect("found");
    assert!(found.path != files.path && found.path.ends_with(format!("{NEWER}/{FILE}")));
}

/// The files of [`folder`].
const FOLDER: [&str; 3] = ["config.json", "model.safetensors", "tokenizer.json"];

/// A hub with a folder of safetensors, a machine, and the folder's entry.
fn folder() -> (FakeHub, Machine, ModelEntry) {
    let shard = weights(31);
    let contents: [&[u8]; 3] = [b"{}", &shard, b"{\"version\":\"1.0\"}"];
    let files: [(&str, &[u8]); 3] = std::array::from_fn(|at| (FOLDER[at], contents[at]));
    let hub = FakeHub::start(&files);
    let machine = Machine::new(FakePip::none(), Some(&hub));
    let mut entry = unpinned(vec![hub_source(&FOLDER)]);
    // As `sha256sum config.json model.safetensors tokenizer.json | sha256sum` prints it.
    let lines = files.map(|(name, bytes)| format!("{}  {name}\n", sha256(bytes))).concat();
    entry.sha256 = Some(sha256(lines.as_bytes()).0);
    entry.bytes = Some(files.iter().map(|(_, bytes)| bytes.len() as u64).sum());
    (hub, machine, entry)
}

#[test]
fn a_folder_of_safetensors_is_downloaded_whole() {
    let (hub, machine, entry) = folder();
    let (fetched, _) = machine.fetch(&entry);
    let found = fetched.expect("fetched");
    assert_eq!(listing(&found.path), FOLDER);
    assert_eq!(Some(found.bytes), entry.bytes);
    assert_eq!(found.path, machine.path("m.files"));
    let snapshot = repository(&machine).join("snapshots").join(COMMIT);
    assert_eq!(
        fs::read_link(found.path.join("config.json")).expect("a link"),
        snapshot.join("config.json")
    );
    hub.refuse(500);
    assert_eq!(machine.locate(&entry).expect("nothing wrong"), Some(found));
}

#[test]
fn files_that_other_tools_put_beside_a_models_are_not_part_of_it() {
    let (hub, mut machine, pinned) = folder();
    let unpinned = unpinned(pinned.sources.clone());
    let snapshot = repository(&machine).join("snapshots").join(COMMIT);
    for entry in [pinned, unpinned] {
        let (fetched, _) = machine.fetch(&entry);
        let files = fetched.expect("fetched");
        hub.refuse(500);
        for name in ["chat_template.jinja", "consolidated.safetensors", "vocab.json"] {
            fs::write(snapshot.join(name), "another tool's").expect("written");
            // What is handed out must not have it either: nobody checked it.
            fs::write(files.path.join(name), "another tool's").expect("written");
        }
        machine.start_anew();
        assert_eq!(machine.locate(&entry).expect("nothing wrong"), Some(files.clone()));
        assert_eq!(listing(&files.path), FOLDER);
        let (_, reports) = machine.fetch(&entry);
        assert_eq!(reports, ["done"]);

        // Nor does it matter that the branch moved on.
        move_on(&machine, &[("config.json", b"{}")]);
        assert_eq!(machine.locate(&entry).expect("nothing wrong"), Some(files));
        fs::remove_dir_all(repository(&machine)).expect("removed");
        assert_eq!(machine.locate(&entry).expect("nothing wrong"), None);
        hub.refuse(200);
    }
}

#[test]
fn a_folder_whose_files_changed_is_linked_anew() {
    let (_hub, machine, entry) = folder();
    let (fetched, _) = machine.fetch(&entry);
    let files = fetched.expect("fetched");
    let link = files.path.join("config.json");
    let target = fs::read_link(&link).expect("a link");
    fs::remove_file(&link).expect("removed");
    std::os::unix::fs::symlink("/etc/passwd", &link).expect("a link");
    assert_eq!(machine.locate(&entry).expect("nothing wrong"), Some(files));
    assert_eq!(fs::read_link(&link).expect("a link"), target);
}
