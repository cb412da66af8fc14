//! Greedy pair merging, the core that byte-pair encoding and SentencePiece share: of all adjacent
//! pairs that may merge, the best one merges first, the leftmost of equals, until none is left.
//! Promises: O(n log n) in the number of symbols, whatever the text.
//! Never knows: what a priority means, how pairs are looked up.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The id of a symbol that is no token.
pub(super) const NO_TOKEN: u32 = u32::MAX;

/// End of the chain of symbols.
const END: u32 = u32::MAX;

/// A run of text that merges as one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Symbol {
    /// Its token, or [`NO_TOKEN`].
    pub(super) id: u32,
    /// Where it starts in the text, in bytes.
    pub(super) start: u32,
    /// Its length in bytes; 0 once the symbol before has absorbed it.
    pub(super) len: u32,
    previous: u32,
    next: u32,
}

/// A merge that may happen: ordered by priority (lower first), then by place.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    priority: u32,
    left: u32,
    right: u32,
    len: u32, // of both together when it was queued: differs once either has changed
    id: u32,
}

/// Symbols of one word and the queue of their merges, kept for reuse between words.
#[derive(Debug, Default)]
pub(super) struct Merger {
    symbols: Vec<Symbol>,
    queue: BinaryHeap<Reverse<Candidate>>,
}

impl Merger {
    /// Forgets the last word.
    pub(super) fn clear(&mut self) {
        self.symbols.clear();
        self.queue.clear();
    }

    /// Appends a symbol of `len` > 0 bytes.
    pub(super) fn push(&mut self, id: u32, len: u32) {
        let index = self.symbols.len() as u32;
        let (previous, start) = match self.symbols.last_mut() {
            Some(last) => {
                last.next = index;
                (index - 1, last.start + last.len)
            }
            None => (END, 0),
        };
        self.symbols.push(Symbol { id, start, len, previous, next: END });
    }

    /// Merges until no adjacent pair may. `pair` tells the priority and the token of two
    /// neighbours merged, or `None`.
    pub(super) fn run(&mut self, pair: impl Fn(&Symbol, &Symbol) -> Option<(u32, u32)>) {
        for right in 1..self.symbols.len() as u32 {
            self.enqueue(right - 1, right, &pair);
        }
        while let Some(Reverse(candidate)) = self.queue.pop() {
            let left = self.symbols[candidate.left as usize];
            let right = self.symbols[candidate.right as usize];
            if left.len == 0 || right.len == 0 || left.len + right.len != candidate.len {
                continue; // one of the two has merged with another neighbour since
            }
            self.symbols[candidate.right as usize].len = 0;
            let merged = &mut self.symbols[candidate.left as usize];
            merged.id = candidate.id;
            merged.len = candidate.len;
            merged.next = right.next;
            if right.next != END {
                self.symbols[right.next as usize].previous = candidate.left;
                self.enqueue(candidate.left, right.next, &pair);
            }
            if left.previous != END {
                self.enqueue(left.previous, candidate.left, &pair);
            }
        }
    }

    fn enqueue(
        &mut self,
        left: u32,
        right: u32,
        pair: impl Fn(&Symbol, &Symbol) -> Option<(u32, u32)>,
    ) {
        let (l, r) = (&self.symbols[left as usize], &self.symbols[right as usize]);
        if let Some((priority, id)) = pair(l, r) {
            let len = l.len + r.len;
            self.queue.push(Reverse(Candidate { priority, left, right, len, id }));
        }
    }

    /// The symbols that are left, in order.
    pub(super) fn symbols(&self) -> impl Iterator<Item = &Symbol> {
        self.symbols.iter().filter(|symbol| symbol.len > 0)
    }
}
