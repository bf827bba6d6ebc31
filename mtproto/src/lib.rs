//! MTProto 2.0 framing and encrypted envelope, both directions, without I/O.
