"""Says what a text is: Python, SQL, Markdown and some 200 more, by a neural network on the CPU."""

from fastapi import FastAPI
from magika import Magika
from pydantic import BaseModel

app = FastAPI()

# Load model once at startup
classifier = Magika()


class TextInput(BaseModel):
    text: str


class BatchInput(BaseModel):
    texts: list[str]


def classify(text: str):
    result = classifier.identify_bytes(text.encode())
    return {"label": str(result.output.label), "score": result.score}


@app.post("/predict")
async def predict(input: TextInput):
    return classify(input.text)


@app.post("/batch")
async def batch_predict(input: BatchInput):
    return {"results": [classify(text) for text in input.texts]}


@app.get("/health")
async def health():
    return {"status": "ready", "model": classifier.get_model_name()}
