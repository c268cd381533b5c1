import { useEffect, useState } from 'react'
import { offline, switchOffline } from './offline-switch.ts'
import { describeProblem } from './problem.ts'
import { problem, remaining, useTodoStore } from './store.ts'
import { link, secondDevice, storeId } from './store-id.ts'
import { type SyncStatus, useSyncStatus } from './sync-status.ts'

export const Sync = () => {
  const status = useSyncStatus(useTodoStore())
  return (
    <aside className="sync" aria-label="Sync">
      <Badge status={status} />
      <Trouble />
      <dl>
        <div>
          <dt>Pending</dt>
          <dd>{status?.pending ?? '–'}</dd>
        </div>
        <div>
          <dt>Head</dt>
          <dd>{status?.head ?? '–'}</dd>
        </div>
      </dl>
      <CatchUp head={status?.head ?? 0} />
      <OfflineSwitch />
    </aside>
  )
}

const Badge = ({ status }: { status: SyncStatus | undefined }) => {
  const [state, text] = describe(status, remaining.use())
  return (
    <p className={`badge ${state}`} role="status">
      {text}
    </p>
  )
}

/** The reason why the app is offline, if it is known. Hidden while the user works offline on purpose. */
const Trouble = () => {
  const now = problem.use()
  const isSwitchedOff = offline.use()
  if (now === undefined || isSwitchedOff) return null
  return (
    <p className="trouble" role="alert" title={now.detail}>
      {describeProblem(now)}
    </p>
  )
}

const describe = (status: SyncStatus | undefined, eventsLeft: number): [state: string, text: string] => {
  if (status === undefined) return ['waiting', 'Connecting …']
  if (!status.connected) return ['offline', 'Offline']
  if (eventsLeft > 0) return ['waiting', 'Catching up …']
  return status.pending === 0 ? ['synced', 'In sync'] : ['waiting', 'Sending …']
}

/** Shown while more events remain than arrive at once: in the first sync, or after a long time offline. */
const CatchUp = ({ head }: { head: number }) => {
  const eventsLeft = remaining.use()
  if (eventsLeft === 0) return null
  return (
    <label className="catch-up">
      {eventsLeft.toLocaleString('en')} events left
      <progress max={head + eventsLeft} value={head} />
    </label>
  )
}

const OfflineSwitch = () => {
  const on = offline.use()
  return (
    <label className="switch">
      <input type="checkbox" role="switch" checked={on} onChange={() => switchOffline(!on)} />
      Work offline
    </label>
  )
}

/** Invites the user to try the sync, on a second device or in a second origin on this computer. */
export const Share = () => {
  const other = secondDevice()
  return (
    <aside className="share" aria-label="Share">
      <p>
        Open the list <strong>{storeId}</strong> on another device and see it sync.
      </p>
      <CopyLink />
      {other !== undefined && (
        <a className="button" href={other} target="_blank" rel="noopener">
          Second device ↗
        </a>
      )}
    </aside>
  )
}

const CopyLink = () => {
  const [copied, setCopied] = useState(false)
  useEffect(() => {
    if (!copied) return
    const timer = setTimeout(() => setCopied(false), 2_000)
    return () => clearTimeout(timer)
  }, [copied])
  return (
    <button type="button" onClick={() => navigator.clipboard.writeText(link()).then(() => setCopied(true))}>
      <span aria-live="polite">{copied ? 'Copied' : 'Copy link'}</span>
    </button>
  )
}
