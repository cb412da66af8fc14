//! A `pip` that finds its wheels in a folder instead of on the network.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// A folder of programs, to be used as `PATH`, and the wheels that they hand out.
#[derive(Debug)]
pub(super) struct FakePip {
    folder: TempDir,
}

impl FakePip {
    /// Nothing on the `PATH` at all.
    pub(super) fn none() -> FakePip {
        FakePip { folder: tempfile::tempdir().expect("a folder") }
    }

    /// A `python3` whose `-m pip` copies the wheel it is asked for.
    pub(super) fn start() -> FakePip {
        let pip = FakePip::none();
        pip.write_wheel_copier("python3");
        pip
    }

    pub(super) fn write_wheel_copier(&self, program: &str) {
        let folder = self.folder.path().display();
        // The package is the last argument, the folder to fill the working directory.
        self.write_program(
            program,
            &format!(
                "for package; do :; done\n\
                 echo \"$package\" >> '{folder}/calls'\n\
                 if ! test -e \"{folder}/$package.whl\"; then\n\
                 echo 'WARNING: a warning' >&2\n\
                 echo \"ERROR: No matching distribution found for $package\" >&2; exit 1\n\
                 fi\n\
                 /bin/cp \"{folder}/$package.whl\" ./some_name-1-py3-none-any.whl"
            ),
        );
    }

    pub(super) fn write_program(&self, program: &str, script: &str) {
        let path = self.folder.path().join(program);
        // Written under another name: a program that is open for writing can not be started.
        let temporary = path.with_extension("new");
        fs::write(&temporary, format!("#!/bin/sh\n{script}\n")).expect("written");
        fs::set_permissions(&temporary, fs::Permissions::from_mode(0o755)).expect("executable");
        fs::rename(&temporary, &path).expect("renamed");
    }

    /// Makes `package` a wheel with one large member.
    pub(super) fn offer(&self, package: &str, member: &str, bytes: &[u8]) {
        let path = self.wheel(package);
        let mut wheel = ZipWriter::new(fs::File::create(path).expect("a file"));
        let options = SimpleFileOptions::default();
        wheel.start_file("../../escape", options).expect("a member");
        wheel.write_all(b"nobody unpacks this").expect("written");
        wheel.start_file(member, options).expect("a member");
        wheel.write_all(bytes).expect("written");
        wheel.finish().expect("a wheel");
    }

    pub(super) fn wheel(&self, package: &str) -> PathBuf {
        self.folder.path().join(format!("{package}.whl"))
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The packages that were asked for so far; forgets them.
    pub(super) fn calls(&self) -> Vec<String> {
        let file = self.folder.path().join("calls");
        let calls = fs::read_to_string(&file).unwrap_or_default();
        let _ = fs::remove_file(file);
        calls.lines().map(str::to_owned).collect()
    }
}
