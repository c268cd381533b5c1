# workerd's configuration of sync-cf.js, bundled. The flags are those of LiveStore's own examples.
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
  modules = [ (name = "sync-cf.js", esModule = embed "sync-cf.js") ],
  compatibilityDate = "2026-10-01",
  compatibilityFlags = ["nodejs_compat", "enable_request_signal"],
  bindings = [ (name = "SYNC_BACKEND_DO", durableObjectNamespace = "SyncBackendDO") ],
  durableObjectNamespaces = [ (className = "SyncBackendDO", uniqueKey = "SyncBackendDO", enableSql = true) ],
  durableObjectStorage = (localDisk = "objects"),
);
