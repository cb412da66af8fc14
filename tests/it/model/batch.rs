//! Batches that break an invariant are refused before an executor indexes with them.

use mizan::model::{BatchSequence, DecoderShape, ForwardBatch};

const SHAPE: DecoderShape = DecoderShape {
    num_layers: 2,
    vocab_size: 100,
    hidden_size: 8,
    num_blocks: 8,
    max_tokens: 24,
    max_outputs: 4,
    max_context: 64,
};

/// A chunk of 20 tokens at positions 10 to 29 of one sequence, and one decode token of another.
fn sound() -> ForwardBatch {
    let mut batch = ForwardBatch { block_tables: vec![5, 2, 7], ..Default::default() };
    for position in 10..30 {
        let block = batch.block_tables[position as usize / 16];
        batch.positions.push(position);
        batch.slots.push(block * 16 + position % 16);
    }
    batch.positions.push(3);
    batch.slots.push(7 * 16 + 3);
    batch.tokens = (0..21).collect();
    batch.outputs = vec![19, 20];
    batch.sequences = vec![
        BatchSequence { rows: 0..20, blocks: 0..2, context_len: 30 },
        BatchSequence { rows: 20..21, blocks: 2..3, context_len: 4 },
    ];
    batch
}

#[test]
fn the_sound_batch_passes() {
    sound().check(&SHAPE).expect("sound");
    let mut cleared = sound();
    cleared.clear();
    assert_eq!(cleared.num_tokens(), 0);
    assert_eq!(sound().block_table(&sound().sequences[0]), [5, 2]);
}

#[test]
fn faults() {
    let check = |damage: fn(&mut ForwardBatch), reason: &str| {
        let mut batch = sound();
        damage(&mut batch);
        let message = batch.check(&SHAPE).expect_err(reason).to_string();
        assert!(message.contains(reason), "{message:?}, expected: {reason}");
    };
    check(|batch| batch.clear(), "0 rows, expected 1 to 24");
    check(|batch| batch.tokens.extend([1; 9]), "30 rows, expected 1 to 24");
    check(|batch| batch.slots.truncate(20), "21 tokens but 21 positions and 20 slots");
    check(|batch| batch.tokens[4] = 100, "token 100 in a vocabulary of 100");
    check(|batch| batch.outputs = vec![0, 1, 2, 3, 4], "5 outputs, at most 4");
    check(|batch| batch.outputs = vec![2, 2], "outputs [2, 2] of 21 rows");
    check(|batch| batch.outputs = vec![21], "outputs [21] of 21 rows");
    check(|batch| batch.hidden = vec![20], "hidden states [20] of rows 21 to 21");
    check(
        |batch| {
            batch.outputs.pop();
            batch.hidden = vec![19]
        },
        "[19] of rows 20 to 21",
    );
    check(|batch| batch.hidden = vec![21], "hidden states [21] of rows 21 to 21");
    check(|batch| batch.sequences.truncate(1), "sequences cover 20 of 21 rows");
    check(|batch| batch.sequences.swap(0, 1), "sequence 0 starts at 20");
    check(|batch| batch.sequences[1].rows = 20..20, "sequence 1: rows 20..20");
    check(|batch| batch.sequences[1].rows = 20..99, "sequence 1: rows 20..99");
    check(|batch| batch.sequences[1].blocks = 2..4, "sequence 1: blocks 2..4 of 3");
    check(|batch| batch.block_tables[1] = 8, "sequence 0: block 8 of 8");
    check(|batch| batch.sequences[0].context_len = 33, "sequence 0: context of 33 in 2 blocks");
    check(|batch| batch.sequences[0].context_len = 29, "position 10 where 9 is due");
    check(|batch| batch.sequences[0].context_len = 19, "20 rows in a context of 19");
    check(|batch| batch.positions[7] = 0, "sequence 0: position 0 where 17 is due");
    check(|batch| batch.slots[7] = 0, "sequence 0: slot 0 where 33 is due");
    check(|batch| batch.block_tables.swap(0, 1), "sequence 0: slot 90 where 42 is due");
}
