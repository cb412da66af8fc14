//! Whose turn it is: queues by lane, and the service each lane has had.
//!
//! The virtual token counter of Sheng et al., "Fairness in Serving Large Language Models"
//! (arXiv 2401.00588): each lane counts the service it got; the next item is taken from the lane
//! with the least; a lane that comes back is lifted to the least of those that wait, so that being
//! away earns nothing. While two lanes have items waiting, their service differs by a bound that
//! does not grow with time.
//!
//! The paper counts a prompt at once. Here its parts count as they are computed, and what is still
//! to come is `promised` when the next lane is chosen: so lanes also share the steps of a prompt.
//!
//! Promises: within a lane, first come first served; a lane that waits is never overtaken for ever.
//! Never knows: what is queued, what service is.

use std::collections::{BTreeMap, VecDeque};

/// Queues of items by lane. See the module's page.
#[derive(Debug)]
pub struct Lanes<T> {
    lanes: BTreeMap<u64, Lane<T>>,
    /// Where a lane that comes back starts at least; never falls.
    floor: u64,
    /// The lane that an item was last taken from: the measure when nobody waits.
    last_taken: Option<u64>,
}

#[derive(Debug)]
struct Lane<T> {
    service: u64,
    /// Items that entered and have not left, queued or taken.
    num_open: usize,
    queue: VecDeque<T>,
}

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Self { lanes: BTreeMap::new(), floor: 0, last_taken: None }
    }
}

impl<T> Lanes<T> {
    /// Queues a new item behind those of its lane.
    pub fn enter(&mut self, lane: u64, item: T) {
        self.raise_floor();
        let floor = self.floor;
        let lane = self.lanes.entry(lane).or_insert_with(|| Lane {
            service: floor,
            num_open: 0,
            queue: VecDeque::new(),
        });
        if lane.queue.is_empty() {
            lane.service = lane.service.max(floor);
        }
        lane.num_open += 1;
        lane.queue.push_back(item);
    }

    /// Queues an item again that was taken, before those of its lane.
    pub fn put_back(&mut self, lane: u64, item: T) {
        let lane = self.lanes.get_mut(&lane).expect("a lane is kept while an item of it is open");
        lane.queue.push_front(item);
    }

    /// The next item's lane and itself: the first of the lane that waits with the least service,
    /// had and `promised`.
    pub fn peek(&self, promised: impl Fn(u64) -> u64) -> Option<(u64, &T)> {
        let waiting = self.lanes.iter().filter(|(_, lane)| !lane.queue.is_empty());
        let service = |(id, lane): &(&u64, &Lane<T>)| lane.service + promised(**id);
        let (&id, lane) = waiting.min_by_key(service)?;
        Some((id, lane.queue.front()?))
    }

    /// Takes the first item of a lane.
    pub fn take(&mut self, lane: u64) -> Option<T> {
        let item = self.lanes.get_mut(&lane)?.queue.pop_front();
        if item.is_some() {
            self.last_taken = Some(lane);
        }
        item
    }

    /// Adds to the service that a lane has had.
    pub fn charge(&mut self, lane: u64, service: u64) {
        let lane = self.lanes.get_mut(&lane).expect("a lane is kept while an item of it is open");
        lane.service += service;
    }

    /// The service of a lane; of one that is not known, what it would start with.
    pub fn service(&self, lane: u64) -> u64 {
        self.lanes.get(&lane).map_or(self.floor, |lane| lane.service)
    }

    /// Notes that a taken item has ended.
    pub fn leave(&mut self, lane: u64) {
        let lane = self.lanes.get_mut(&lane).expect("a lane is kept while an item of it is open");
        lane.num_open -= 1;
        self.forget();
    }

    /// Drops the queued items for which `is_gone`; calls it for each queued item.
    pub fn remove_if(&mut self, mut is_gone: impl FnMut(&T) -> bool) {
        let mut is_any_gone = false;
        for lane in self.lanes.values_mut() {
            let before = lane.queue.len();
            lane.queue.retain(|item| !is_gone(item));
            let num_gone = before - lane.queue.len();
            lane.num_open -= num_gone;
            is_any_gone |= num_gone > 0;
        }
        if is_any_gone {
            self.forget();
        }
    }

    /// Takes all queued items out, in no order that matters.
    pub fn drain(&mut self) -> impl Iterator<Item = T> {
        std::mem::take(&mut self.lanes).into_values().flat_map(|lane| lane.queue)
    }

    /// Items that are queued.
    pub fn num_waiting(&self) -> usize {
        self.lanes.values().map(|lane| lane.queue.len()).sum()
    }

    /// Lanes that are remembered.
    pub fn num_lanes(&self) -> usize {
        self.lanes.len()
    }

    fn raise_floor(&mut self) {
        let waiting = self.lanes.values().filter(|lane| !lane.queue.is_empty());
        let least = waiting.map(|lane| lane.service).min();
        let level = least.or_else(|| self.last_taken.map(|lane| self.service(lane)));
        self.floor = self.floor.max(level.unwrap_or(0));
    }

    /// Forgets lanes that would start no lower if they came back, so that memory stays bounded by
    /// the lanes served of late, not by all there ever were.
    fn forget(&mut self) {
        self.raise_floor();
        let Self { lanes, floor, last_taken } = self;
        lanes.retain(|id, lane| {
            lane.num_open > 0 || lane.service > *floor || *last_taken == Some(*id)
        });
    }
}
