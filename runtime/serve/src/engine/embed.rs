//! Embeddings and scores: one job after another.

use super::handle::{Reading, Shared, Vector};
use smidgen::encoder::text::Session;
use smidgen_host::ThreadPool;
use std::thread;
use std::time::Instant;

/// Texts between two looks at whether anybody still waits for them.
const STEP: usize = 16;

/// Does jobs until the engine is to stop.
pub(super) fn run(shared: &Shared, mut session: Session, pool: &ThreadPool) {
    loop {
        let mut state = shared.state();
        state.sweep();
        let (job, stopping) = (state.readings.pop_front(), state.stopping);
        state.stats.running = job.is_some().into();
        drop(state);
        match job {
            Some(job) => {
                let done = read(shared, &mut session, pool, &job);
                let mut state = shared.state();
                state.inside = state.inside.saturating_sub(1);
                state.stats.running = 0;
                state.stats.cancelled += u64::from(done.is_none());
                drop(state);
                // Who still waits for what was given up sees that there is no reply.
                if let Some(results) = done {
                    let _ = job.reply.send(results);
                }
            }
            None if stopping => return,
            None => thread::park(),
        }
    }
}

/// The results of a job, none if it is given up.
fn read(shared: &Shared, session: &mut Session, pool: &ThreadPool, job: &Reading) -> Option<Vec<Vector>> {
    let Reading { texts, scores, reply } = job;
    let mut results: Vec<Vector> = Vec::with_capacity(texts.len());
    for part in texts.chunks(STEP) {
        let late = shared.state().deadline.is_some_and(|deadline| deadline <= Instant::now());
        if late || reply.is_closed() {
            return None;
        }
        let started = Instant::now();
        let mut failures = 0;
        let mut each = |_: usize, result: Result<&[f32], smidgen::RunError>| {
            failures += u64::from(result.is_err());
            results.push(result.map(<[f32]>::to_vec).map_err(|error| error.to_string()));
        };
        pool.enter(|pool| match scores {
            true => session.classify(part, pool, &mut each),
            false => session.embed(part, pool, &mut each),
        });
        let stats = &mut shared.state().stats;
        stats.passes += 1;
        stats.prompt_tokens += part.iter().map(|text| text.tokens.len() as u64).sum::<u64>();
        stats.failures += failures;
        stats.busy_seconds += started.elapsed().as_secs_f64();
    }
    Some(results)
}
