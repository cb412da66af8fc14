//! The block manager and the lanes by themselves.

use mizan::engine::block_manager::{BlockManager, BlockTable};
use mizan::engine::lanes::Lanes;
use mizan::model::BLOCK_SIZE;

fn ids(number: u32, num_blocks: usize) -> Vec<u32> {
    (0..(num_blocks * BLOCK_SIZE) as u32).map(|i| i * 3 + number).collect()
}

fn admit(blocks: &mut BlockManager, ids: &[u32]) -> (BlockTable, usize) {
    blocks.admit(ids, ids.len() - 1, 0).expect("blocks")
}

#[test]
fn a_refused_admission_changes_nothing() {
    let mut blocks = BlockManager::new(4, true);
    let (mut table, _) = admit(&mut blocks, &ids(0, 2));
    blocks.keep_full(&mut table, &ids(0, 2));
    blocks.release(table);
    let before = blocks.counts();
    assert!(blocks.admit(&ids(0, 5), 79, 0).is_none());
    assert!(blocks.admit(&ids(0, 4), 63, 1).is_none());
    assert_eq!(blocks.counts(), before);
    assert_eq!((before.cached, before.free), (2, 2));
    // What it finds cached is no longer available to others: 4 blocks are just enough.
    let (table, num_cached) = admit(&mut blocks, &ids(0, 4));
    assert_eq!(num_cached, 2 * BLOCK_SIZE);
    assert_eq!(blocks.num_available(), 0);
    blocks.check([&table].into_iter());
    let mut table = table;
    assert!(!blocks.grow(&mut table));
    blocks.release(table);
    blocks.check([].into_iter());
}

#[test]
fn a_block_that_two_own_stays_until_both_are_gone() {
    let mut blocks = BlockManager::new(4, true);
    let prompt = ids(0, 3);
    let (mut first, _) = admit(&mut blocks, &prompt);
    blocks.keep_full(&mut first, &prompt[..2 * BLOCK_SIZE]);
    let (second, num_cached) = admit(&mut blocks, &prompt);
    assert_eq!(num_cached, 2 * BLOCK_SIZE);
    assert_eq!(first.blocks()[..2], second.blocks()[..2]);
    assert_ne!(first.blocks()[2], second.blocks()[2]);
    blocks.check([&first, &second].into_iter());
    blocks.release(first);
    assert_eq!(blocks.counts().owned, 3);
    blocks.check([&second].into_iter());
    blocks.release(second);
    assert_eq!(blocks.counts().owned, 0);
}

#[test]
fn a_prefix_counts_only_from_its_start() {
    let mut blocks = BlockManager::new(8, true);
    let prompt = ids(0, 3);
    let (mut table, _) = admit(&mut blocks, &prompt);
    blocks.keep_full(&mut table, &prompt);
    // The second block's ids at the start of another prompt are at other positions.
    let (other, num_cached) = admit(&mut blocks, &prompt[BLOCK_SIZE..]);
    assert_eq!(num_cached, 0);
    // The same ids after another first block read other keys and values.
    let mut changed = prompt.clone();
    changed[0] += 1;
    let (third, num_cached) = admit(&mut blocks, &changed);
    assert_eq!(num_cached, 0);
    blocks.check([&table, &other, &third].into_iter());
}

#[test]
#[should_panic(expected = "owners as counted and as in the block tables")]
fn the_check_finds_a_lost_block() {
    let mut blocks = BlockManager::new(4, true);
    drop(admit(&mut blocks, &ids(0, 2)));
    blocks.check([].into_iter());
}

fn take(lanes: &mut Lanes<&'static str>) -> Option<&'static str> {
    let (lane, &item) = lanes.peek(|_| 0)?;
    assert_eq!(lanes.take(lane), Some(item));
    Some(item)
}

fn take_all(lanes: &mut Lanes<&'static str>) -> Vec<&'static str> {
    std::iter::from_fn(|| take(lanes)).collect()
}

#[test]
fn the_least_served_lane_is_next_and_within_a_lane_the_first() {
    let mut lanes = Lanes::default();
    for (lane, item) in [(2, "b1"), (1, "a1"), (1, "a2"), (2, "b2")] {
        lanes.enter(lane, item);
    }
    assert_eq!(lanes.peek(|_| 0), Some((1, &"a1")));
    let promised = |lane| if lane == 1 { 1 } else { 0 };
    assert_eq!(lanes.peek(promised), Some((2, &"b1")));
    assert_eq!(take(&mut lanes), Some("a1"));
    lanes.charge(1, 10);
    assert_eq!(take(&mut lanes), Some("b1"));
    lanes.charge(2, 4);
    lanes.put_back(2, "b1 again");
    assert_eq!(lanes.num_waiting(), 3);
    assert_eq!(take_all(&mut lanes), ["b1 again", "b2", "a2"]);
}

#[test]
fn being_away_earns_nothing() {
    let mut lanes = Lanes::default();
    lanes.enter(1, "a1");
    lanes.enter(1, "a2");
    take(&mut lanes);
    lanes.charge(1, 1000);
    lanes.enter(2, "b1");
    assert_eq!(lanes.service(2), 1000, "as the least served of those that wait");
    lanes.charge(2, 1);
    assert_eq!(take_all(&mut lanes), ["a2", "b1"]);
    lanes.charge(2, 500);
    lanes.enter(3, "c1");
    assert_eq!(lanes.service(3), 1501, "nobody waits: as the lane that was taken from last");
    lanes.charge(3, 100);
    assert_eq!(take_all(&mut lanes), ["c1"]);
    lanes.enter(1, "a3");
    assert_eq!(lanes.service(1), 1601, "a lane that is known and was away, likewise");
}

#[test]
fn lanes_are_forgotten_once_they_would_start_no_lower() {
    let mut lanes = Lanes::default();
    for lane in 0..1000 {
        lanes.enter(lane, "x");
        take(&mut lanes);
        lanes.charge(lane, 10);
        lanes.leave(lane);
        assert!(lanes.num_lanes() <= 3, "{} lanes", lanes.num_lanes());
    }
    lanes.enter(5000, "gone");
    lanes.enter(5000, "stays");
    lanes.remove_if(|&item| item == "gone");
    assert_eq!(take_all(&mut lanes), ["stays"]);
}
