import { reopen } from './store.ts'

export const Boot = () => (
  <main className="boot" aria-busy="true">
    <p role="status">Opening the list …</p>
    <progress aria-label="Opening the list" />
  </main>
)

export const Failed = ({ title = 'The list could not be opened', error }: { title?: string; error: unknown }) => (
  <main className="boot" role="alert">
    <h1>{title}</h1>
    <pre>{String(error)}</pre>
    <button type="button" onClick={() => reopen('failed')}>
      Try again
    </button>
  </main>
)
