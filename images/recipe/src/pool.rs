//! Threads that run models: one a core, for the whole process, made when first wanted.

use crate::deflate::encoder::{Encoder, Models};
use crate::deflate::guide::Bounds;
use crate::deflate::inflate::Block;
use crate::deflate::segment::{Input, attempt};
use crate::deflate::token::Token;
use crate::ladder::{Hints, Segment, choose};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

/// A segment to be recorded: its plaintext with what lies around it, and how the stream writes it.
#[derive(Debug)]
pub struct Job {
    /// See [`Input::bytes`].
    pub bytes: Vec<u8>,
    /// See [`Input::start`].
    pub start: usize,
    /// See [`Input::end`].
    pub end: usize,
    /// See [`Input::offset`].
    pub offset: u64,
    /// Its tokens.
    pub tokens: Vec<Token>,
    /// Its blocks.
    pub blocks: Vec<Block>,
    /// Most bytes that its corrections may take.
    pub limit: usize,
    /// The encoder; where there is none, the one is looked for that fits best.
    pub encoder: Option<Encoder>,
    /// Bytes of [errors](crate::deflate::segment::Attempt::errors) above which it is looked for all the same; none where
    /// enough was looked for.
    pub tolerated: Option<usize>,
    /// What the file says of its encoder.
    pub hints: Hints,
}

/// What became of a segment.
#[derive(Debug)]
pub struct Recorded {
    /// The encoder that it is predicted by, and the corrections; none where no model is good enough.
    pub made: Option<(Encoder, Vec<u8>)>,
    /// See [`Attempt::errors`](crate::deflate::segment::Attempt::errors).
    pub errors: usize,
    /// Whether the encoder was looked for.
    pub searched: bool,
}

type Order = (Job, Sender<Recorded>);

/// Records the segment on one of the threads. Waits while they are all busy and have work ahead of them.
#[must_use]
pub fn submit(job: Job) -> Receiver<Recorded> {
    static POOL: OnceLock<Sender<Order>> = OnceLock::new();
    let pool = POOL.get_or_init(|| {
        let cores = threads();
        let (orders, taken) = bounded::<Order>(cores);
        for n in 0..cores {
            let taken = taken.clone();
            let thread = std::thread::Builder::new().name(format!("retrace-{n}"));
            // Where no thread can be had the orders' receivers are dropped, and who waits is told.
            let _ = thread.spawn(move || work(&taken));
        }
        orders
    });
    let (reply, answer) = bounded(1);
    // If it fails, so does the answer.
    let _ = pool.send((job, reply));
    answer
}

/// How many segments are worked on at once.
#[must_use]
pub fn threads() -> usize {
    std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
}

fn work(orders: &Receiver<Order>) {
    let mut models = Models::default();
    for (job, reply) in orders {
        let recorded = catch_unwind(AssertUnwindSafe(|| run(&mut models, &job))).unwrap_or_else(|_| {
            // What it left of the models is of no use to the next segment. This one is kept as it is.
            models = Models::default();
            Recorded {
                made: None,
                errors: usize::MAX,
                searched: false,
            }
        });
        // Whoever asked may have given up.
        let _ = reply.send(recorded);
    }
}

fn run(models: &mut Models, job: &Job) -> Recorded {
    let input = Input {
        bytes: &job.bytes,
        start: job.start,
        end: job.end,
        offset: job.offset,
    };
    let (mut made, mut errors) = (None, usize::MAX);
    if let Some(encoder) = job.encoder {
        let bounds = Bounds::corrections(job.limit);
        let attempt = attempt(encoder, models, &input, &job.tokens, &job.blocks, bounds);
        errors = attempt.errors;
        made = attempt.corrections.map(|corrections| (encoder, corrections));
        let bad = |tolerated| made.is_none() || errors > tolerated;
        if !job.tolerated.is_some_and(bad) {
            return Recorded {
                made,
                errors,
                searched: false,
            };
        }
    }
    let segment = Segment {
        input,
        tokens: &job.tokens,
        blocks: &job.blocks,
    };
    let fewest = made
        .as_ref()
        .map_or(job.limit, |(_, corrections)| corrections.len());
    if let Some(choice) = choose(models, &segment, job.hints, fewest) {
        errors = choice.errors;
        made = Some((choice.encoder, choice.corrections));
    }
    Recorded {
        made,
        errors,
        searched: true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deflate::inflate::Shape;

    /// A segment beyond the bytes that it should be in: no reader of a stream makes such a one.
    fn beyond() -> Job {
        Job {
            bytes: Vec::new(),
            start: 10,
            end: 11,
            offset: 0,
            tokens: vec![Token::literal(b'a')],
            blocks: vec![Block {
                shape: Shape::Fixed,
                last: true,
                tokens: 1,
                plain: 1,
                padding: 0,
            }],
            limit: 1 << 20,
            encoder: Some(Encoder::Go { level: 6 }),
            tolerated: None,
            hints: Hints::default(),
        }
    }

    #[test]
    fn a_model_that_panics_predicts_nothing_and_the_threads_go_on() {
        let answers: Vec<_> = (0..threads() * 2 + 1).map(|_| submit(beyond())).collect();
        for answer in answers {
            let recorded = answer.recv().expect("a thread");
            assert!(recorded.made.is_none() && !recorded.searched);
        }
    }
}
