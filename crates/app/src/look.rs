//! The plan of a launch on this home, for the commands that only look.

use myownllm_launch::{Checks, LaunchPlan, Options, checks, plan};

use crate::privileges::{foreseen_refusal, user_to_become};
use crate::world::{World, fresh_ids};

/// Returns what a launch would do.
pub(crate) fn plan_of(world: &World) -> LaunchPlan {
    as_a_launch(world, |options| plan(&world.wire().context(), options, &mut fresh_ids()))
}

/// Returns what a launch would do, and all checks of that plan.
pub(crate) fn examine(world: &World) -> (LaunchPlan, Checks) {
    as_a_launch(world, |options| {
        let wired = world.wire();
        let context = wired.context();
        let plan = plan(&context, options, &mut fresh_ids());
        let checks = checks(&context, options, &plan);
        (plan, checks)
    })
}

/// Looks with the options of a launch, which changes its user before it changes anything.
fn as_a_launch<T>(world: &World, look: impl FnOnce(&Options<'_>) -> T) -> T {
    let refusal = foreseen_refusal(world);
    look(&Options { refusal: refusal.as_ref(), run_as: user_to_become(world), ..world.options() })
}
