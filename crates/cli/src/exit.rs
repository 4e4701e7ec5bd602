//! Exit codes. Scripts and agents may rely on them; they are told in `countersign --help`.

use std::process::ExitCode;

use countersign_intercept::local::LocalError;

use crate::api::ApiError;

/// Something failed.
pub(crate) const FAILED: u8 = 1;
/// `hook doctor`: the host goes on in a case that no configuration mends.
pub(crate) const HOST_GOES_ON: u8 = 10;
/// The control plane or the sidecar cannot be reached (`EX_UNAVAILABLE`).
pub(crate) const UNAVAILABLE: u8 = 69;
/// Not decided: nobody decided in time, or nobody could be asked (`EX_TEMPFAIL`).
pub(crate) const UNDECIDED: u8 = 75;
/// Refused by policy, by a reviewer, or for lack of rights (`EX_NOPERM`).
pub(crate) const REFUSED: u8 = 77;
/// The program was found, but cannot be executed.
pub(crate) const NOT_EXECUTABLE: u8 = 126;
/// There is no such program.
pub(crate) const NOT_FOUND: u8 = 127;

/// What is said about them in the help.
pub(crate) const HELP: &str = "\
Exit codes:
  0    done
  1    failed
  2    the command line is wrong
  10   hook doctor: the host goes on in a case that no configuration mends
  69   the control plane or the sidecar cannot be reached
  75   not decided in time, or nobody could be asked; nothing was executed
  77   refused: by policy, by a reviewer, or because you may not
  126  exec: the program cannot be executed
  127  exec: there is no such program
  exec otherwise exits as the command does: its own code, or 128 and the number of the signal that ended it.

Which control plane: COUNTERSIGN_URL and COUNTERSIGN_TOKEN, or `countersign login`.
Which sidecar: COUNTERSIGN_SOCKET, or --socket where it is asked.";

/// The exit code of an error.
pub(crate) fn of(error: &anyhow::Error) -> ExitCode {
    let code = error.chain().find_map(|cause| {
        if let Some(api) = cause.downcast_ref::<ApiError>() {
            return Some(match api {
                ApiError::Unreachable { .. } => UNAVAILABLE,
                ApiError::Refused { status: 401 | 403, .. } => REFUSED,
                _ => FAILED,
            });
        }
        cause.downcast_ref::<LocalError>().map(|_| UNAVAILABLE)
    });
    ExitCode::from(code.unwrap_or(FAILED))
}
