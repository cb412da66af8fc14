//! Files beside the books: named after them, written whole or not at all, for their owner alone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// `ledger.db` with `.lock` added is `ledger.db.lock`.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// A name beside `path` that no other process takes for the same purpose.
pub(super) fn partial(path: &Path) -> PathBuf {
    beside(path, &format!(".partial-{}", std::process::id()))
}

/// Creates an empty file that only its owner can read; an error if there is one.
pub(super) fn create_private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Writes a file that only its owner can read, whole or not at all. An error if there is one.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let partial = partial(path);
    remove_if_there(&partial)?;
    let mut file = create_private(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    publish(&partial, path)
}

/// Gives a finished file its name, unless another has it; lasting once it returns.
pub(super) fn publish(finished: &Path, name: &Path) -> io::Result<()> {
    match fs::hard_link(finished, name) {
        Ok(()) => fs::remove_file(finished)?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error),
        // A file system without links, such as that of most USB sticks.
        Err(_) if name.exists() => return Err(io::ErrorKind::AlreadyExists.into()),
        Err(_) => fs::rename(finished, name)?,
    }
    sync_folder_of(name)
}

/// Makes the names in the folder of `path` last.
pub(super) fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    // Elsewhere folders can not be opened, and names last by themselves.
    if cfg!(unix) { File::open(folder.unwrap_or(Path::new(".")))?.sync_all() } else { Ok(()) }
}

/// Removes a file, whether or not it is there.
pub(super) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_once_and_for_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        write_private(&path, b"one").unwrap();
        let again = write_private(&path, b"two").unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
}
