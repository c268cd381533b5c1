import react from '@vitejs/plugin-react'
import { defineConfig } from 'vite'

export default defineConfig({
  plugins: [react()],
  // LiveStore's workers are modules that import other modules.
  worker: { format: 'es' },
  optimizeDeps: {
    // A bundled copy would look for its .wasm file in the wrong place.
    exclude: ['@livestore/wa-sqlite'],
    // Only the workers import these modules. If Vite found them late, it would reload the page.
    entries: ['index.html', 'src/livestore.worker.ts'],
    include: ['@livestore/common', '@livestore/common/schema', 'effect'].map(
      (name) => `@livestore/adapter-web > ${name}`,
    ),
  },
})
