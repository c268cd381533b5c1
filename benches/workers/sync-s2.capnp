# workerd's configuration of sync-s2.js, bundled. The flags are those of LiveStore's own examples.
using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "worker", worker = .worker),
    (name = "objects", disk = (writable = true)),
    (name = "internet", network = (allow = ["public", "private"], tlsOptions = (trustBrowserCas = true))),
  ],
  sockets = [ (name = "http", http = (), service = "worker") ],
);

const worker :Workerd.Worker = (
  modules = [ (name = "sync-s2.js", esModule = embed "sync-s2.js") ],
  compatibilityDate = "2026-10-01",
  compatibilityFlags = ["nodejs_compat", "enable_request_signal"],
  bindings = [ (name = "S2_URL", fromEnvironment = "S2_URL") ],
);
