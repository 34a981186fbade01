"""Reads a document from R2, and writes what is in it back as JSON."""

import io
import json
import os

import boto3
import openpyxl
import pdfplumber
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel

app = FastAPI()
bucket = boto3.resource(
    "s3",
    endpoint_url=os.environ["R2_ENDPOINT"],
    aws_access_key_id=os.environ["R2_ACCESS_KEY"],
    aws_secret_access_key=os.environ["R2_SECRET_KEY"],
    region_name="auto",
).Bucket(os.environ["R2_BUCKET_NAME"])


class Document(BaseModel):
    r2Key: str


def parse_pdf(data):
    with pdfplumber.open(data) as pdf:
        return {
            "pages": len(pdf.pages),
            "text": "\n".join(page.extract_text() for page in pdf.pages),
            "tables": [table for page in pdf.pages for table in page.extract_tables()],
        }


def parse_xlsx(data):
    workbook = openpyxl.load_workbook(data, data_only=True)
    return {
        "sheets": {
            sheet.title: [list(row) for row in sheet.iter_rows(values_only=True)]
            for sheet in workbook
        }
    }


PARSERS = {".pdf": parse_pdf, ".xlsx": parse_xlsx}


@app.post("/parse")
def parse(document: Document):
    _, ending = os.path.splitext(document.r2Key)
    if ending not in PARSERS:
        raise HTTPException(415, f"documents end in {' or '.join(PARSERS)}")
    data = io.BytesIO()
    try:
        bucket.download_fileobj(document.r2Key, data)
    except bucket.meta.client.exceptions.ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        raise HTTPException(404 if status == 404 else 502, str(error))
    data.seek(0)
    try:
        parsed = PARSERS[ending](data)
    except Exception as error:
        raise HTTPException(422, f"{document.r2Key} cannot be parsed: {error}")
    result_key = f"{document.r2Key}.json"
    bucket.put_object(
        Key=result_key,
        Body=json.dumps(parsed, default=str).encode(),
        ContentType="application/json",
    )
    return {"resultKey": result_key}
