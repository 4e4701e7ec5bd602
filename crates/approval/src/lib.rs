//! The approval state machine, its requirements and votes, and signed grants. Pure.
//!
//! A [`Submission`] is what a sidecar asks; a [`Request`] is what the control plane freezes from it;
//! an [`Approval`] is that request with its votes, its uses and its [`State`]. [`transition()`] is the
//! only way from one state to the next, and says as data ([`Effect`]) what the world must be told.
//!
//! ```text
//! pending ─▶ approved ─▶ claimed ─▶ executed | failed | outcome_unknown
//!    │           │           ├─▶ revoked | invalidated      (what is left of a grant of several uses)
//!    │           ├─▶ lapsed                               (nobody started within execute_within)
//!    │           ├─▶ revoked                              (by a person, or withdrawn by the requester)
//!    │           └─▶ invalidated                          (policy or tool changed)
//!    ├─▶ denied                                           (as many eligible people as it takes said no)
//!    ├─▶ expired                                          (nobody decided within decide_within)
//!    ├─▶ cancelled { requester | requester_gone | superseded }   (superseded also by a reviewer's edit)
//!    └─▶ invalidated
//! ```
//!
//! What holds here, each with a property test over random interleavings:
//!
//! - **I2** An approval gives at most its number of uses, each once, and only within its time. One for a task
//!   covers only operations that are kin of the approved one, inside every budget ([`task`]).
//! - **I3** Nobody approves for themselves: not the initiating human, verified or not, not the agent's
//!   owner, no machine and no agent. No role is looked at before that.
//! - **I4** A quorum counts distinct people, and one person for one requirement only.
//!   A right counts once, whether its owner uses it or their stand-in.
//! - **I5** Silence never approves: a clock only ever leads to `expired`, `cancelled`, `lapsed`, to the
//!   end of a grant that was already used, or to more people being asked ([`asking`]).

pub mod asking;
mod clocks;
pub mod edit;
pub mod glass;
pub mod grant;
mod quorum;
pub mod request;
pub mod state;
pub mod status;
pub mod task;
pub mod transition;
mod using;
pub mod vote;
pub mod voting;

pub use asking::Prompted;
pub use edit::{ArgumentChange, Edit, EditError};
pub use glass::{BrokenGlass, GlassReview};
pub use grant::{Expected, GrantClaims, GrantRefusal, MetRequirement};
pub use request::{Label, Request, RequestError, Submission};
pub use state::{Approval, AskedAgain, CancelReason, GrantTerms, Outcome, State, Use};
pub use status::{Phase, Progress, Status};
pub use task::{Candidate, GrantScope, Uncovered};
pub use transition::{Effect, Input, Occurrence, Refusal, transition};
pub use vote::{DelegatedRight, Delegator, Vote, VoteDecision, Voter};
