# What capnp-rpc's clients call. bench_capnp.rs is made of it, once, by the crate capnpc:
#   capnpc::CompilerCommand::new().file("bench.capnp").run()
# so that building the benchmarks needs no Cap'n Proto compiler.
@0xb9d8f1c2a7e65340;

interface Bench {
  add @0 (a :Int64, b :Int64) -> (sum :Int64);
  push @1 (data :Data) -> (length :UInt64);
  echo @2 (data :Data) -> (data :Data);
}
