//! Not planned yet.

use crate::Error;
use crate::checkpoint::Checkpoint;
use crate::plan::{Plan, Planner};

/// Plans the file.
pub(crate) fn plan<'a>(checkpoint: &Checkpoint<'a>) -> Result<Plan<'a>, Error> {
    Planner::new(checkpoint, "clip").finish(|_| false)
}
