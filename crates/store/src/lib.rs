//! The control plane's state: ports and the embedded redb store.
//!
//! [`Store`] is what the control plane asks for, in the words of its domain: every command is one
//! durable transaction that also appends its audit events to the ledger, so that there is no state
//! without its story. [`EmbeddedStore`] answers it with a single redb file; another one can come.
//!
//! The traits, in the order in which an installation meets them:
//!
//! 1. [`AgentStore`]: agents, and the join tokens that enrol them, each good for one enrolment.
//! 2. [`BundleStore`]: immutable policy revisions; the newest is the one in force.
//! 3. [`ApprovalStore`]: approvals. The state machine runs inside the writer, so votes cannot race.
//! 4. [`OutboxStore`]: what is still to be told about approvals, in order.
//! 5. [`DeliveryStore`]: what each channel was told, and what it is still to be told.
//! 6. [`PeopleStore`]: local people, tokens, sessions, sign-in links, as hashes only.
//! 7. [`AccountStore`]: their accounts elsewhere, and what is known of them from their latest sign-in.
//! 8. [`PasskeyStore`]: the public keys of people's passkeys.
//! 9. [`LedgerStore`]: the append-only record, its search index, and its proofs.
//!
//! What is deliberately absent: a clock and randomness (times and secrets come with the commands; only
//! the entropy of event ids is handed in), signing keys (grants are signed from an approval's terms by
//! whoever answers for it), and any command that changes or removes an event.

mod accounts;
mod agents;
mod approvals;
mod bundles;
mod comments;
mod delegations;
mod deliveries;
mod embedded;
mod error;
mod ledger;
mod outbox;
mod page;
mod passkeys;
mod people;

pub use accounts::{
    AccountKind, AccountLink, AccountRefusal, AccountStore, ExternalAccount, LinkedAccount, NameRefusal,
    Profile, Replayed, SignIn, SignInEnd, VouchRefusal, Vouching,
};
pub use agents::{
    AddAgentRefusal, Agent, AgentRefusal, AgentState, AgentStore, JoinToken, JoinTokenRefusal,
    JoinTokenState, Liveness, NewAgent, NewJoinToken, RedeemRefusal, Redemption, Revocation, Svid,
};
pub use approvals::{Applied, ApplyRefusal, ApprovalFilter, ApprovalStore, Change, SubmitRefusal, Submitted};
pub use bundles::{BundleFiles, BundleStore, BundleWithFiles, NewBundle, PolicyRevision, PushRefusal};
pub use comments::{Comment, CommentRefusal, CommentStore, MAX_COMMENTS};
pub use delegations::{Delegation, DelegationRefusal, DelegationStore, MAX_DELEGATIONS};
pub use deliveries::{Delivery, DeliveryKey, DeliveryOutcome, DeliveryStore, Destination, Want};
pub use embedded::{EmbeddedStore, EventEntropy, OpenError, Settings};
pub use error::{Author, By, CommandError, StoreError};
pub use ledger::{
    Anomaly, CheckpointRecord, EventFilter, IndexProgress, IngestRefusal, Ingested, LedgerEvent, LedgerHead,
    LedgerStore, OutOfRange,
};
pub use outbox::{Lane, OutboxMessage, OutboxStore, Telling};
pub use page::{Cursor, CursorError, Page, PageError, PageRequest};
pub use passkeys::{MOST_PASSKEYS, Passkey, PasskeyRefusal, PasskeyStore, PasskeyUse};
pub use people::{
    ApiToken, CredentialKind, LocalPerson, NotThere, PeopleStore, Reservation, Session, SignInLink,
    SignInRefusal, StoredResponse, TokenRefusal, WriteKey,
};

/// The control plane's state. Every method that changes something returns when the change is durable.
pub trait Store:
    AgentStore
    + BundleStore
    + ApprovalStore
    + OutboxStore
    + DeliveryStore
    + PeopleStore
    + AccountStore
    + PasskeyStore
    + CommentStore
    + DelegationStore
    + LedgerStore
    + Send
    + Sync
{
}

impl<S> Store for S where
    S: AgentStore
        + BundleStore
        + ApprovalStore
        + OutboxStore
        + DeliveryStore
        + PeopleStore
        + AccountStore
        + PasskeyStore
        + CommentStore
        + DelegationStore
        + LedgerStore
        + Send
        + Sync
{
}
