//! Files in memory: weights mapped read only, small texts read.
//! Promises: mapped bytes can be borrowed for as long as the map lives; a text is of bounded size.
//! Never knows: what the bytes mean.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

/// Configurations and indices are far below this, even of the largest models.
const MAX_TEXT_BYTES: u64 = 64 << 20;

/// Reads a whole configuration or index file.
pub(crate) fn read_text(path: &Path) -> io::Result<Vec<u8>> {
    let bytes = std::fs::metadata(path)?.len();
    if bytes > MAX_TEXT_BYTES {
        let what = format!("{bytes} bytes, at most {MAX_TEXT_BYTES} are expected");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    std::fs::read(path)
}

/// A read-only map of a whole file.
#[derive(Debug)]
pub(crate) struct FileMap {
    map: memmap2::Mmap,
}

impl FileMap {
    /// Maps the file. An empty file is an error, as it can not be mapped.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a file, or empty"));
        }
        // SAFETY: the map is shared and read only. The bytes are undefined only if another process
        // shortens or rewrites the file while it is served, which the operator is told not to do;
        // the price of forbidding it would be a copy of every model in memory.
        #[allow(unsafe_code)]
        let map = unsafe { memmap2::Mmap::map(&file)? };
        Ok(Self { map })
    }

    /// The file's contents.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map
    }

    /// Tells the system that the pages in `range` need not stay in memory.
    pub(crate) fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        {
            let advice = memmap2::UncheckedAdvice::DontNeed;
            // SAFETY: dropping pages of a shared read-only file map loses nothing, a later access
            // reads the file again; the crate checks that the range lies in the map.
            #[allow(unsafe_code)]
            let dropped =
                unsafe { self.map.unchecked_advise_range(advice, range.start, range.len()) };
            // A refusal costs memory, not correctness.
            drop(dropped);
        }
        #[cfg(not(unix))]
        let _ = range;
    }
}
