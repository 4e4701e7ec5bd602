//! Protocol fronts of the sidecar: check, exec and mcp.
