//! Memory for weights and keys and values: one mapping, zeroed, on huge pages where there are any.
//!
//! A decoder reads all its weights for every token: with 4 KiB pages the address translation alone
//! costs some per cent. Many systems give huge pages only to those who ask (`madvise`).

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;

/// Parts start at multiples of this: a cache line.
const ALIGNMENT: usize = 64;

/// What huge pages need, on x86-64 and most others.
const HUGE_PAGE: usize = 2 << 20;

/// A mapping that is given out in parts; it lives as long as any of them.
#[derive(Debug)]
pub struct Arena {
    mapping: Arc<Mapping>,
    used: usize,
}

/// A part of an [`Arena`].
pub struct Part {
    start: NonNull<u8>,
    len: usize,
    _mapping: Arc<Mapping>,
}

/// The bytes that a part of `len` takes in an arena.
pub const fn part_bytes(len: usize) -> usize {
    len.next_multiple_of(ALIGNMENT)
}

impl Arena {
    /// Zeroed memory for parts of `bytes` in all, each counted by [`part_bytes`].
    ///
    /// # Errors
    /// If the system has no such memory.
    pub fn new(bytes: usize) -> std::io::Result<Self> {
        Ok(Arena { mapping: Arc::new(Mapping::new(bytes)?), used: 0 })
    }

    /// The next `len` bytes; `None` when they are not there.
    pub fn part(&mut self, len: usize) -> Option<Part> {
        let end = self.used.checked_add(part_bytes(len))?;
        if end > self.mapping.bytes {
            return None;
        }
        // SAFETY: inside the mapping.
        let start = unsafe { self.mapping.start.add(self.used) };
        self.used = end;
        Some(Part { start, len, _mapping: Arc::clone(&self.mapping) })
    }
}

// SAFETY: a part owns its bytes, which no other part overlaps.
unsafe impl Send for Part {}
// SAFETY: shared access only reads.
unsafe impl Sync for Part {}

impl Deref for Part {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the mapping lives as long as the part, and is initialised by the system.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for Part {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and no other part overlaps this.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Part {
    /// The bytes as 16-bit numbers.
    ///
    /// # Panics
    /// If the length is odd.
    pub fn as_u16(&self) -> &[u16] {
        assert!(self.len.is_multiple_of(2), "{} bytes are not whole numbers", self.len);
        // SAFETY: parts are aligned to more than 2 bytes, and any bits are a number.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.len / 2) }
    }

    /// The bytes as 16-bit numbers.
    ///
    /// # Panics
    /// If the length is odd.
    pub fn as_u16_mut(&mut self) -> &mut [u16] {
        assert!(self.len.is_multiple_of(2), "{} bytes are not whole numbers", self.len);
        // SAFETY: parts are aligned to more than 2 bytes, and any bits are a number.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().cast(), self.len / 2) }
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").field("len", &self.len).finish()
    }
}

/// Anonymous memory of the system.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
    /// What was asked of the system: more, so that `start` can be aligned.
    whole: (NonNull<u8>, usize),
}

// SAFETY: the pointers are this value's own memory.
unsafe impl Send for Mapping {}
// SAFETY: as above; nothing is written through a shared mapping.
unsafe impl Sync for Mapping {}

impl Mapping {
    #[cfg(unix)]
    fn new(bytes: usize) -> std::io::Result<Self> {
        let bytes = bytes.max(ALIGNMENT);
        let too_large = || std::io::Error::from(std::io::ErrorKind::OutOfMemory);
        let len = bytes.checked_add(HUGE_PAGE).ok_or_else(too_large)?;
        let (read_write, private) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new anonymous mapping touches nothing that exists.
        let whole = unsafe { libc::mmap(std::ptr::null_mut(), len, read_write, private, -1, 0) };
        if whole == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error());
        }
        let whole = NonNull::new(whole.cast::<u8>()).ok_or_else(too_large)?;
        // SAFETY: the mapping is longer by a huge page than what is used of it.
        let start = unsafe { whole.add(whole.as_ptr().align_offset(HUGE_PAGE)) };
        #[cfg(target_os = "linux")]
        // SAFETY: advice on our own mapping; without effect where it is not known.
        unsafe {
            libc::madvise(start.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE);
        }
        Ok(Mapping { start, bytes, whole: (whole, len) })
    }

    #[cfg(not(unix))]
    fn new(bytes: usize) -> std::io::Result<Self> {
        let bytes = bytes.max(ALIGNMENT);
        let too_large = || std::io::Error::from(std::io::ErrorKind::OutOfMemory);
        let layout =
            std::alloc::Layout::from_size_align(bytes, HUGE_PAGE).map_err(|_| too_large())?;
        // SAFETY: the layout is not empty.
        let start = NonNull::new(unsafe { std::alloc::alloc_zeroed(layout) });
        let start = start.ok_or_else(too_large)?;
        Ok(Mapping { start, bytes, whole: (start, bytes) })
    }
}

impl Drop for Mapping {
    #[cfg(unix)]
    fn drop(&mut self) {
        // SAFETY: our own mapping, of which no part is left.
        unsafe { libc::munmap(self.whole.0.as_ptr().cast(), self.whole.1) };
    }

    #[cfg(not(unix))]
    fn drop(&mut self) {
        let layout = std::alloc::Layout::from_size_align(self.whole.1, HUGE_PAGE)
            .expect("it was one when it was allocated");
        // SAFETY: allocated with this layout, and no part is left.
        unsafe { std::alloc::dealloc(self.whole.0.as_ptr(), layout) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_aligned_zeroed_and_apart() {
        let mut arena = Arena::new(part_bytes(100) + part_bytes(3)).unwrap();
        let (mut a, mut b) = (arena.part(100).unwrap(), arena.part(3).unwrap());
        assert!(arena.part(1).is_none());
        drop(arena);
        assert!(a.iter().chain(&*b).all(|byte| *byte == 0));
        assert_eq!(a.as_ptr() as usize % HUGE_PAGE, 0);
        assert_eq!(b.as_ptr() as usize % ALIGNMENT, 0);
        a.fill(1);
        b.fill(2);
        assert!(a.iter().all(|byte| *byte == 1) && b.iter().all(|byte| *byte == 2));
    }

    #[test]
    fn impossible_sizes_are_errors() {
        assert!(Arena::new(usize::MAX).is_err());
        assert!(Arena::new(usize::MAX / 2).is_err());
    }
}
