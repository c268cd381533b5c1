import { Suspense, use } from 'react'
import { Boot, Failed } from './boot.tsx'
import { ready, stopped, warning, wasReset } from './store.ts'
import { Share, Sync } from './sync-panel.tsx'
import { AddTodo, TodoList } from './todos.tsx'

export const App = () => {
  const why = stopped.use()
  if (why !== undefined) return <Failed title="Sync has stopped" error={why} />
  return (
    <Suspense fallback={<Boot />}>
      <Page />
    </Suspense>
  )
}

const Page = () => {
  use(ready)
  return (
    <div className="page">
      <header>
        <h1>To do</h1>
        <p>Works offline, syncs through Headwater</p>
      </header>
      <Notices />
      <Sync />
      <main>
        <AddTodo />
        <TodoList />
      </main>
      <Share />
    </div>
  )
}

const Notices = () => {
  const text = warning.use()
  return (
    <>
      {wasReset.use() && (
        <p className="notice" role="alert">
          <span>
            This list was reset on the server and loaded again. Changes that this device had not sent are lost.
          </span>
          <button type="button" onClick={() => wasReset.set(false)}>
            Dismiss
          </button>
        </p>
      )}
      {text !== undefined && <p className="notice">{text}</p>}
    </>
  )
}
