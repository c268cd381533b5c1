import react from '@vitejs/plugin-react'
import { defineConfig } from 'vite'

export default defineConfig({
  plugins: [react()],
  // LiveStore's workers are modules that import others.
  worker: { format: 'es' },
  optimizeDeps: {
    // Bundled, it would look for its .wasm file in the wrong place.
    exclude: ['@livestore/wa-sqlite'],
    // What only the workers import: found late, it would make Vite reload the page.
    entries: ['index.html', 'src/livestore.worker.ts'],
    include: ['@livestore/common', '@livestore/common/schema', 'effect'].map(
      (name) => `@livestore/adapter-web > ${name}`,
    ),
  },
})
