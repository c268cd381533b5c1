import { StoreRegistryProvider } from '@livestore/react'
import { Component, type ReactNode } from 'react'
import { createRoot } from 'react-dom/client'
import { App } from './app.tsx'
import { Failed } from './boot.tsx'
import { storeRegistry } from './store.ts'
import { storeId } from './store-id.ts'
import './style.css'

class ErrorBoundary extends Component<{ children: ReactNode }> {
  override state: { error?: unknown } = {}
  static getDerivedStateFromError = (error: unknown) => ({ error })
  override render = () => ('error' in this.state ? <Failed error={this.state.error} /> : this.props.children)
}

document.title = `To do: ${storeId}`

const root = document.getElementById('root')
if (root === null) throw new Error('index.html has no element with the id "root"')
createRoot(root).render(
  <ErrorBoundary>
    <StoreRegistryProvider storeRegistry={storeRegistry}>
      <App />
    </StoreRegistryProvider>
  </ErrorBoundary>,
)
