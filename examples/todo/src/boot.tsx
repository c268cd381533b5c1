import { bootStatus, reopen } from './store.ts'

/** Until the store is there: what LiveStore is doing, and how far the first sync has come. */
export const Boot = () => {
  const status = bootStatus.use()
  const progress = 'progress' in status ? status.progress : undefined
  const total = progress !== undefined && progress.total > 0 ? progress.total : undefined
  return (
    <main className="boot" aria-busy="true">
      <p role="status">{status.stage === 'syncing' ? `Catching up${count(progress?.done, total)} …` : 'Opening the list …'}</p>
      <progress aria-label="First sync" {...(total === undefined ? {} : { max: total, value: progress?.done ?? 0 })} />
    </main>
  )
}

const count = (done = 0, total: number | undefined) => {
  if (total !== undefined) return `: ${done.toLocaleString('en')} of ${total.toLocaleString('en')} events`
  return done > 0 ? `: ${done.toLocaleString('en')} events` : ''
}

export const Failed = ({ error }: { error: unknown }) => (
  <main className="boot" role="alert">
    <h1>The list could not be opened</h1>
    <pre>{String(error)}</pre>
    <button type="button" onClick={() => reopen('failed')}>
      Try again
    </button>
  </main>
)
