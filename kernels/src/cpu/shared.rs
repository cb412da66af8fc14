//! A slice that several threads write in disjoint parts.

use std::marker::PhantomData;
use std::ops::Range;

/// `&mut [T]` given to all threads of a region; each part belongs to one of them at a time.
#[derive(Debug)]
pub(crate) struct Shared<'a, T> {
    start: *mut T,
    len: usize,
    borrow: PhantomData<&'a mut [T]>,
}

impl<T> Clone for Shared<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shared<'_, T> {}

// SAFETY: a part reaches a thread only through the unsafe methods, whose callers vouch that no
// other thread uses it meanwhile; so this is like sending `&mut [T]`.
unsafe impl<T: Send> Send for Shared<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Shared { start: slice.as_mut_ptr(), len: slice.len(), borrow: PhantomData }
    }

    /// One part, for this thread.
    ///
    /// # Safety
    /// Until the next barrier no other thread uses any of `range`, nor this one through another
    /// call.
    #[inline]
    pub(crate) unsafe fn slice(&self, range: Range<usize>) -> &'a mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "{range:?} of {}", self.len);
        // SAFETY: inside the slice, and the caller has it alone.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }

    /// Sets one element.
    ///
    /// # Safety
    /// Until the next barrier no other thread uses it.
    #[inline]
    pub(crate) unsafe fn write(&self, index: usize, value: T) {
        assert!(index < self.len, "{index} of {}", self.len);
        // SAFETY: inside the slice, and the caller has it alone.
        unsafe { *self.start.add(index) = value };
    }

    /// The whole, for reading.
    ///
    /// # Safety
    /// Until the next barrier no thread writes any of it.
    #[inline]
    pub(crate) unsafe fn all(&self) -> &'a [T] {
        // SAFETY: the whole slice, and nobody writes it.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}
