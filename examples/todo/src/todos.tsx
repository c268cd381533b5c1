import { nanoid, queryDb } from '@livestore/livestore'
import { type FormEvent, useRef, useState } from 'react'
import { events, tables } from './schema.ts'
import { useTodoStore } from './store.ts'

type Todo = typeof tables.todos.Type

const FILTERS = { all: 'All', active: 'Active', completed: 'Done' } as const

const todos$ = queryDb(tables.todos.orderBy('createdAt', 'asc'), { label: 'todos' })

export const AddTodo = () => {
  const store = useTodoStore()
  const [text, setText] = useState('')
  const add = (event: FormEvent) => {
    event.preventDefault()
    if (text.trim() === '') return
    store.commit(events.todoCreated({ id: nanoid(), text: text.trim(), createdAt: new Date() }))
    setText('')
  }
  return (
    <form className="add" onSubmit={add}>
      <input
        aria-label="New to-do"
        placeholder="What needs to be done?"
        autoComplete="off"
        enterKeyHint="done"
        value={text}
        onChange={(event) => setText(event.target.value)}
      />
      <button type="submit">Add</button>
    </form>
  )
}

export const TodoList = () => {
  const store = useTodoStore()
  const todos = store.useQuery(todos$)
  const [{ filter }, setView] = store.useClientDocument(tables.view)
  const list = useRef<HTMLUListElement>(null)

  const shown = todos.filter(({ completed }) => filter === 'all' || completed === (filter === 'completed'))
  const completed = todos.filter((todo) => todo.completed)
  const left = todos.length - completed.length

  const remove = (ids: readonly string[]) => {
    store.commit(events.todosDeleted({ ids }))
    list.current?.focus() // the element that had the focus is gone
  }

  return (
    <>
      <ul className="todos" ref={list} tabIndex={-1} aria-label="To-dos">
        {shown.map((todo) => (
          <TodoItem key={todo.id} todo={todo} onDelete={() => remove([todo.id])} />
        ))}
      </ul>
      {shown.length === 0 && <p className="empty">{todos.length === 0 ? 'Nothing to do yet.' : 'Nothing here.'}</p>}
      <footer className="tools">
        <span>{left === 1 ? '1 left' : `${left} left`}</span>
        <div role="group" aria-label="Show">
          {(Object.keys(FILTERS) as (keyof typeof FILTERS)[]).map((key) => (
            <button key={key} type="button" aria-pressed={key === filter} onClick={() => setView({ filter: key })}>
              {FILTERS[key]}
            </button>
          ))}
        </div>
        <button type="button" disabled={completed.length === 0} onClick={() => remove(completed.map(({ id }) => id))}>
          Clear done
        </button>
      </footer>
    </>
  )
}

const TodoItem = ({ todo, onDelete }: { todo: Todo; onDelete: () => void }) => {
  const store = useTodoStore()
  const { id, text, completed } = todo
  const [mode, setMode] = useState<'shown' | 'editing' | 'edited'>('shown')
  const save = (next: string) => {
    setMode('edited')
    if (next === '') onDelete()
    else if (next !== text) store.commit(events.todoEdited({ id, text: next }))
  }
  return (
    <li className={completed ? 'completed' : ''}>
      <input
        type="checkbox"
        aria-label={`Done: ${text}`}
        checked={completed}
        onChange={() => store.commit(completed ? events.todoReopened({ id }) : events.todoCompleted({ id }))}
      />
      {mode === 'editing' ? (
        <EditText text={text} onSave={save} onCancel={() => setMode('edited')} />
      ) : (
        <button
          type="button"
          className="text"
          title="Edit"
          autoFocus={mode === 'edited'}
          onClick={() => setMode('editing')}
        >
          {text}
        </button>
      )}
      <button type="button" className="delete" aria-label={`Delete: ${text}`} onClick={onDelete}>
        ×
      </button>
    </li>
  )
}

/** Saves on Enter, and when the field loses the focus. Escape cancels. */
const EditText = ({
  text,
  onSave,
  onCancel,
}: {
  text: string
  onSave: (text: string) => void
  onCancel: () => void
}) => {
  const [draft, setDraft] = useState(text)
  return (
    <form
      className="text"
      onSubmit={(event) => {
        event.preventDefault()
        onSave(draft.trim())
      }}
    >
      <input
        aria-label={`Edit: ${text}`}
        autoFocus
        value={draft}
        onChange={(event) => setDraft(event.target.value)}
        onBlur={() => onSave(draft.trim())}
        onKeyDown={({ key }) => key === 'Escape' && onCancel()}
      />
    </form>
  )
}
